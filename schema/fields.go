package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// AppendFields appends the canonical bytes of named values, in the order of their names and without
// those that are empty, so that a field that is added later does not change the bytes of what lacks
// it:
//
//	for each: uvarint length, name | uvarint length, value
//
// Signatures cover these bytes: they never change.
func AppendFields(dst []byte, fields map[string]string) []byte {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		if value == "" {
			continue
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(name))), name...)
		dst = append(binary.AppendUvarint(dst, uint64(len(value))), value...)
	}
	return dst
}

// FieldsDigest returns the SHA-256 of the canonical bytes of named values.
func FieldsDigest(fields map[string]string) Digest { return sha256.Sum256(AppendFields(nil, fields)) }

// Names of signed fields that no record has by itself.
const (
	FieldUserID         = "operation_user_id"
	FieldDocumentDigest = "user_document_sha256" // in hexadecimal
	FieldStarted        = "started"
	FieldExpires        = "expires"
)

// Fields returns all that the signature of a session's start covers: the operation by the names of
// the record's fields. Values that are empty or false are left out. Times have the form of
// [AppendTime].
func (op *Operation) Fields() map[string]string {
	fields := map[string]string{
		"operation_id": op.ID, "stack": op.Stack, "app": op.App, "app_id": op.AppID, "service": op.Service, "layer": op.Layer,
		"host": op.Host, "container": op.Container, "command": op.Command,
		FieldUserID: op.User.ID, "operation_user_name": op.User.Name, "operation_user_email": op.User.Email,
		FieldStarted: timeField(op.Started), FieldExpires: timeField(op.Expires),
	}
	if op.UserDocument != "" {
		sum := sha256.Sum256([]byte(op.UserDocument))
		fields[FieldDocumentDigest] = hex.EncodeToString(sum[:])
	}
	if op.Interactive {
		fields["interactive"] = "true"
	}
	if op.PHI {
		fields["phi"] = "true"
	}
	for name, n := range map[string]int{"width": op.Width, "height": op.Height} {
		if n != 0 {
			fields[name] = strconv.Itoa(n)
		}
	}
	op.Origin.Each(func(name string, value *string) { fields[name] = *value })
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	return fields
}

func timeField(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return string(AppendTime(nil, t.UnixNano()))
}

// fields returns the details by their JSON names, without the signature. Characters that syslog
// cannot carry are those that it carries instead.
func (d *Detail) fields() (map[string]string, error) {
	if d == nil {
		return nil, nil
	}
	data, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return nil, err
	}
	delete(values, "signature")
	fields := make(map[string]string, len(values))
	for name, value := range values {
		switch v := value.(type) {
		case string:
			fields[name] = SyslogText(v)
		case json.Number:
			fields[name] = v.String()
		case bool:
			fields[name] = strconv.FormatBool(v)
		default:
			return nil, fmt.Errorf("the field %s of an event is a %T", name, value)
		}
	}
	return fields, nil
}

// SyslogText returns a text as syslog carries it in structured data: see [SyslogRune].
func SyslogText(text string) string {
	var safe []byte
	for i, r := range text {
		s := SyslogRune(r, true)
		if s != r && safe == nil {
			safe = append(make([]byte, 0, len(text)), text[:i]...)
		}
		if safe != nil {
			safe = append(safe, string(s)...)
		}
	}
	if safe == nil {
		return text
	}
	return string(safe)
}

// SyslogRune returns the character by which syslog carries a character, which is usually the same:
// in structured data (param) or in a message.
func SyslogRune(r rune, param bool) rune {
	switch {
	case r == '\t', r == 0x2028, r == 0x2029: // tab, and the separators of lines and paragraphs
		return ' '
	case r < ' ', 0x7f <= r && r <= 0x9f: // C0, DEL, C1
		return '\ufffd'
	case 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069: // direction of writing
		if param { // where it would turn around what follows
			return '\ufffd'
		}
	}
	return r
}
