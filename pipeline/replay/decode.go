package replay

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
)

// A decoder makes records of what copies have. It is for one goroutine. The zero value is ready.
type decoder struct {
	operations map[schema.Operation]*schema.Operation // by what a record says
}

// maxOperations bounds the operations that a decoder keeps.
const maxOperations = 4096

func (d *decoder) intern(op schema.Operation) *schema.Operation {
	if known, ok := d.operations[op]; ok {
		return known
	}
	if d.operations == nil || len(d.operations) >= maxOperations {
		d.operations = make(map[schema.Operation]*schema.Operation)
	}
	made := op
	made.User.ID = userID(op.UserDocument)
	d.operations[op] = &made
	return &made
}

// userID is the user's ID in a user document, whose signature nobody has looked at; "" where it has
// none.
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

// errOther is the error of what is not ttydrain's.
var errOther = errors.New("not a record of ttydrain's")

// record is what both forms have in common.
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
	if !known {
		fault("its event is none")
	}
	switch w.Stream {
	case "stderr":
		r.Stream = schema.Stderr
	case "stdout", "":
	default:
		fault("its stream is none")
	}
	r.Partial, r.Sequence = w.Partial, w.Sequence
	if w.Offset != "" {
		offset, err := strconv.ParseUint(w.Offset, 10, 64)
		if err != nil {
			fault("its offset is no number")
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
		fault("digest is no SHA-256 digest")
	}
	r.Timing = []byte(w.Timing)
	if len(r.Timing) == 0 && r.Event == schema.EventOutput {
		r.Lost |= LostTiming
	}
	if r.Event != schema.EventOutput {
		r.Detail = &schema.Detail{
			Command: w.Command, Interactive: w.Interactive, Width: w.Width, Height: w.Height, ExitStatus: w.ExitStatus,
			Reason: w.Reason, EndedBy: w.EndedBy, EndedBecause: w.EndedBecause, Bytes: w.Bytes, LastSequence: w.LastSequence,
			Uncertain: w.Uncertain, Signature: w.Signature, Path: w.Path, Direction: w.Direction, Size: w.Size, SHA256: w.SHA256,
			Input: w.Input, InputBytes: w.InputBytes, InputSHA256: w.InputSHA256,
		}
	}
	return r
}

// parseDigest reads a digest, in the only form that ttydrain writes.
func parseDigest(text string) (d schema.Digest, ok bool) {
	read, err := hex.DecodeString(text)
	if err != nil || len(read) != len(d) {
		return d, false
	}
	copy(d[:], read)
	return d, d.String() == text
}

// jsonError tells what is wrong without quoting, as the errors of encoding/json do.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return errInvalid
	case errors.As(err, &kind):
		return errors.New("its field " + strconv.Quote(kind.Field) + " is of another type")
	}
	return errors.New("one of its fields has a value that it can't have")
}

// Names by which something is a record, whatever else is wrong with it.
var (
	operationName = regexp.MustCompile(`operation_id"?[=:]\s?\\?"?([0-9A-Za-z_-]{1,64})`)
	sequenceName  = regexp.MustCompile(`\bsequence"?[=:]\s?\\?"?([0-9]{1,20})`)
)

func hasRecordNames(data []byte) bool { return operationName.Match(data) && sequenceName.Match(data) }

// brokenAt is a record that can't be read, with whose it seems to be.
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
