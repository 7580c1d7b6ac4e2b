package replay

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
)

// decoder decodes records of all formats. The zero value is ready. It is not safe for concurrent
// use.
type decoder struct {
	operations map[schema.Operation]*schema.Operation // interned operations by their contents
}

// maxOperations bounds the number of interned operations.
const maxOperations = 4096

func (d *decoder) intern(op schema.Operation) *schema.Operation {
	if known, ok := d.operations[op]; ok {
		return known
	}
	if d.operations == nil || len(d.operations) >= maxOperations {
		d.operations = make(map[schema.Operation]*schema.Operation)
	}
	interned := op
	interned.User.ID = userID(op.UserDocument)
	d.operations[op] = &interned
	return &interned
}

// userID returns the user's ID in a user document, or "". It does not verify the signature.
func userID(document string) string {
	parts := strings.Split(document, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.ID
}

// errOther is returned for data that is not a record of ttydrain.
var errOther = errors.New("not a record of ttydrain")

// record decodes the fields that the JSON and syslog forms have in common.
func (d *decoder) record(w *receive.Record) *Record {
	r := new(Record)
	op := schema.Operation{
		ID: w.OperationID, Stack: w.Stack, App: w.App, AppID: w.AppID, Service: w.Service, Layer: w.Layer, Host: w.Host, Container: w.Container,
		User: schema.User{Name: w.OperationUserName, Email: w.OperationUserEmail}, UserDocument: w.UserDocument,
	}
	r.Operation = d.intern(op)
	fault := func(what string) { r.Faults = append(r.Faults, what) }

	known := false
	for _, e := range schema.Events() {
		if e.String() == w.Event {
			r.Event, known = e, true
		}
	}
	switch {
	case w.Event == "":
		fault("the event is missing")
	case !known:
		fault("the event is unknown")
	}
	switch w.Stream {
	case "stderr":
		r.Stream = schema.Stderr
	case "stdout", "":
	default:
		fault("the stream is unknown")
	}
	r.Partial, r.Sequence = w.Partial, w.Sequence
	if w.Offset != "" {
		offset, err := strconv.ParseUint(w.Offset, 10, 64)
		if err != nil {
			fault("the offset is not a number")
		}
		r.Offset = offset
	}
	if w.Time.IsZero() {
		r.Lost |= LostTime
	} else {
		r.Time = w.Time.UnixNano()
	}
	if r.Digest, known = parseDigest(w.Digest); !known {
		r.Lost |= LostDigest
		fault("digest is not a SHA-256 digest")
	}
	r.Timing = []byte(w.Timing)
	if len(r.Timing) == 0 && r.Event == schema.EventOutput {
		r.Lost |= LostTiming
	}
	detail := schema.Detail{
		Command: w.Command, Interactive: w.Interactive, Width: w.Width, Height: w.Height, ExitStatus: w.ExitStatus,
		Reason: w.Reason, EndedBy: w.EndedBy, EndedBecause: w.EndedBecause, Bytes: w.Bytes, LastSequence: w.LastSequence,
		Uncertain: w.Uncertain, Signature: w.Signature, Path: w.Path, Direction: w.Direction, Size: w.Size, SHA256: w.SHA256,
		Input: w.Input, InputBytes: w.InputBytes, InputSHA256: w.InputSHA256, Origin: w.Origin,
	}
	switch {
	case r.Event != schema.EventOutput:
		r.Detail = &detail
	case !reflect.ValueOf(detail).IsZero():
		fault("it is output but has details of an event")
	}
	return r
}

// parseDigest parses a digest. It accepts only the exact form that ttydrain writes.
func parseDigest(text string) (d schema.Digest, ok bool) {
	read, err := hex.DecodeString(text)
	if err != nil || len(read) != len(d) {
		return d, false
	}
	copy(d[:], read)
	return d, d.String() == text
}

// jsonError describes an error of encoding/json without the quotes of the input that it can
// contain.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return errInvalid
	case errors.As(err, &kind):
		return errors.New("the field " + strconv.Quote(kind.Field) + " has the wrong type")
	}
	return errors.New("a field has an invalid value")
}

// Patterns that identify a record even if it is damaged.
var (
	operationName = regexp.MustCompile(`operation_id"?[=:]\s?\\?"?([0-9A-Za-z_-]{1,64})`)
	sequenceName  = regexp.MustCompile(`\bsequence"?[=:]\s?\\?"?([0-9]{1,20})`)
)

func hasRecordNames(data []byte) bool { return operationName.Match(data) && sequenceName.Match(data) }

// brokenAt returns the description of an unreadable record, with the operation and sequence that
// can be found in it.
func brokenAt(place Place, data []byte, err error) Broken {
	b := Broken{Place: place, What: err.Error()}
	if m := operationName.FindSubmatch(data); m != nil {
		b.Operation = string(m[1])
	}
	if m := sequenceName.FindSubmatch(data); m != nil {
		b.Sequence, _ = strconv.ParseUint(string(m[1]), 10, 64)
	}
	return b
}
