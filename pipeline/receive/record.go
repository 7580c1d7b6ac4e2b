package receive

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Drain is the protocol by which a record was received.
type Drain string

const (
	HTTPS  Drain = "https"
	Syslog Drain = "syslog"
)

// Received is a record as it arrived.
type Received struct {
	Drain Drain
	// At is the time at which the record was complete; Peer is the sender's address.
	At   time.Time
	Peer string
	// Record is the decoded JSON object. For a syslog message, only the fields that it contains are
	// set.
	Record Record
	// Raw is the JSON object, or the syslog message without its frame. It may be retained but must
	// not be modified.
	Raw []byte
	// Syslog is the parsed message; nil for HTTPS.
	Syslog *Message
	// Repeat reports that the request's Idempotency-Key was seen before, so that the record is a
	// duplicate.
	Repeat bool
}

// Record holds the fields of a record as described by record.schema.json. Absent fields have their
// zero value.
type Record struct {
	Timestamp          time.Time `json:"@timestamp"`
	Version            string    `json:"@version"`
	Type               string    `json:"type"`
	Time               time.Time `json:"time"`
	Log                string    `json:"log"`
	LogBase64          []byte    `json:"log_base64"` // decoded
	Stream             string    `json:"stream"`
	Offset             string    `json:"offset"`
	File               string    `json:"file"`
	Host               string    `json:"host"`
	Layer              string    `json:"layer"`
	Service            string    `json:"service"`
	Stack              string    `json:"stack"`
	App                string    `json:"app"`
	AppID              string    `json:"app_id"`
	Source             string    `json:"source"`
	Container          string    `json:"container"`
	OperationID        string    `json:"operation_id"`
	OperationUserName  string    `json:"operation_user_name"`
	OperationUserEmail string    `json:"operation_user_email"`
	UserDocument       string    `json:"APTIBLE_USER_DOCUMENT"`
	Event              string    `json:"event"`
	Sequence           uint64    `json:"sequence"`
	Text               string    `json:"text"`
	Digest             string    `json:"digest"`
	TextDigest         string    `json:"text_digest,omitempty"` // only in syslog messages
	Timing             string    `json:"timing"`
	Partial            bool      `json:"partial"`
	Command            string    `json:"command"`
	Interactive        *bool     `json:"interactive"`
	Width              int       `json:"width"`
	Height             int       `json:"height"`
	schema.Origin
	ExitStatus   *int    `json:"exit_status"`
	Reason       string  `json:"reason"`
	EndedBy      string  `json:"ended_by,omitempty"`
	EndedBecause string  `json:"ended_because,omitempty"`
	Path         string  `json:"path,omitempty"`
	Direction    string  `json:"direction,omitempty"`
	Size         *uint64 `json:"size,omitempty"`
	SHA256       string  `json:"sha256,omitempty"`
	Input        []byte  `json:"input_base64,omitempty"`
	InputBytes   *uint64 `json:"input_bytes,omitempty"`
	InputSHA256  string  `json:"input_sha256,omitempty"`
	Bytes        *uint64 `json:"bytes"`
	LastSequence uint64  `json:"last_sequence,omitempty"`
	Uncertain    bool    `json:"uncertain,omitempty"`
	Signature    string  `json:"signature"`
	// Part and PartOffset are set in a syslog message that contains one part of a record, such as
	// "2/5".
	Part       string `json:"part,omitempty"`
	PartOffset string `json:"part_offset,omitempty"`
}

// Exact returns the exact bytes that the terminal displayed, as far as the record contains them.
func (r *Record) Exact() []byte {
	if r.LogBase64 != nil {
		return r.LogBase64
	}
	return []byte(r.Log)
}

// SessionID is the SD-ID of the element that holds a record's fields.
const SessionID = "session@32473"

// RecordOf returns the record in a syslog message. The parameters of the session element have the
// names of the JSON form. Malformed values are ignored; they remain in m.Data.
func RecordOf(m *Message) Record {
	r := Record{Timestamp: m.Timestamp, Time: m.Timestamp, Host: m.Host, App: m.App, OperationID: m.ProcID, Event: m.MsgID}
	for name, values := range m.Data[SessionID] {
		value := values[0]
		switch name {
		case "operation_id":
			r.OperationID = value
		case "operation_user_name":
			r.OperationUserName = value
		case "operation_user_email":
			r.OperationUserEmail = value
		case "stream":
			r.Stream = value
		case "offset":
			r.Offset = value
		case "digest":
			r.Digest = value
		case "text_digest":
			r.TextDigest = value
		case "timing":
			r.Timing = value
		case "command":
			r.Command = value
		case "reason":
			r.Reason = value
		case "ended_by":
			r.EndedBy = value
		case "ended_because":
			r.EndedBecause = value
		case "path":
			r.Path = value
		case "direction":
			r.Direction = value
		case "sha256":
			r.SHA256 = value
		case "input_sha256":
			r.InputSHA256 = value
		case "input_base64":
			r.Input, _ = base64.StdEncoding.DecodeString(value)
		case "size":
			r.Size = number(value)
		case "input_bytes":
			r.InputBytes = number(value)
		case "signature":
			r.Signature = value
		case "part":
			r.Part = value
		case "part_offset":
			r.PartOffset = value
		case "log_base64":
			r.LogBase64, _ = base64.StdEncoding.DecodeString(value)
		case "sequence":
			r.Sequence, _ = strconv.ParseUint(value, 10, 64)
		case "last_sequence":
			r.LastSequence, _ = strconv.ParseUint(value, 10, 64)
		case "uncertain":
			r.Uncertain = value == "true"
		case "partial":
			r.Partial = value == "true"
		case "width":
			r.Width, _ = strconv.Atoi(value)
		case "height":
			r.Height, _ = strconv.Atoi(value)
		case "interactive":
			if b, err := strconv.ParseBool(value); err == nil {
				r.Interactive = &b
			}
		case "exit_status":
			if n, err := strconv.Atoi(value); err == nil {
				r.ExitStatus = &n
			}
		case "bytes":
			r.Bytes = number(value)
		}
	}
	r.Origin.Each(func(name string, value *string) {
		if values := m.Data[SessionID][name]; len(values) > 0 {
			*value = values[0]
		}
	})
	r.Text = m.Text
	// The format of the message is: [TOKEN ]operation_id=ID [part=NUMBER/TOTAL ]TEXT.
	if r.OperationID != "" {
		if _, text, ok := strings.Cut(m.Text, "operation_id="+r.OperationID+" "); ok {
			r.Text, _ = r.CutPart(text)
		}
	}
	return r
}

// CutPart returns a message's text without its part number, and reports whether the number was
// found. The text of an undivided record is returned unchanged.
func (r *Record) CutPart(text string) (rest string, ok bool) {
	if r.Part == "" {
		return text, true
	}
	rest, ok = strings.CutPrefix(text, "part="+r.Part)
	if !ok || rest != "" && rest[0] != ' ' {
		return text, false
	}
	return strings.TrimPrefix(rest, " "), true
}

// number parses a decimal number. It returns nil if value is malformed.
func number(value string) *uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}
