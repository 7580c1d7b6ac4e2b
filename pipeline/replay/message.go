package replay

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
)

// message decodes a record from a syslog line with ttydrain's structured data.
func (d *decoder) message(data []byte) (*Record, error) {
	at := bytes.Index(data, []byte("["+receive.SessionID+" "))
	if at < 0 {
		if bytes.Contains(data, []byte(` text_digest="`)) && hasRecordNames(data) {
			return nil, errors.New("the structured data is not from ttydrain")
		}
		return nil, errOther
	}
	m, err := receive.ParseMessage(data)
	hasHeader := err == nil
	if !hasHeader { // the server has replaced the header and kept the structured data and the text
		m, err = receive.ParseMessage(append([]byte("<13>1 - - - - - "), data[at:]...))
		if err != nil {
			return nil, errors.New("the structured data does not comply with RFC 5424")
		}
		m.Timestamp = leadingTime(data[:at])
	}
	element := m.Data[receive.SessionID]
	w := receive.RecordOf(m)
	// The message contains the ID in printable ASCII, after an optional token.
	text, ok := m.Text, false
	if _, after, ok := strings.Cut(text, "operation_id="); ok {
		id, rest, _ := strings.Cut(after, " ")
		w.Text, text = rest, id
	} else {
		text = ""
	}
	if w.OperationID == "" {
		return nil, errNoID
	}
	var part Part
	if w.Part != "" {
		if part, err = parsePart(w.Part, w.PartOffset); err != nil {
			return nil, err
		}
		if w.Text, ok = w.CutPart(w.Text); !ok {
			return nil, errors.New("the part numbers contradict each other")
		}
	}
	if !hasHeader {
		w.Event = eventOf(element)
	}
	r := d.record(&w)
	r.Part = part
	r.Lost |= LostOperation
	if !hasHeader {
		r.Lost |= LostTime
	}
	if text != w.OperationID || hasHeader && (m.ProcID != w.OperationID || element.Get("operation_id") == "") {
		r.Faults = append(r.Faults, FaultIDs)
	}
	if event := element.Get("event"); hasHeader && event != "" && event != m.MsgID {
		r.fault("the events contradict each other")
	}
	recordForm().inspectParams(r, element)
	if meta := m.Data["meta"]; meta != nil && r.Sequence > 0 {
		if id := meta.Get("sequenceId"); id != strconv.FormatUint((r.Sequence-1)%(1<<31-1)+1, 10) {
			r.Faults = append(r.Faults, "sequence and sequenceId contradict each other")
		}
	}
	r.Text = []byte(w.Text)
	if element.Get("altered") == "true" {
		r.Lost |= LostText | LostByDrain
	}
	if element.Get("omitted") != "" {
		r.Lost |= LostByDrain
	}
	if r.TextDigest, ok = parseDigest(w.TextDigest); !ok {
		r.Lost |= LostTextDigest
		r.Faults = append(r.Faults, "text_digest is not a SHA-256 digest")
	}
	if encoded := element.Get("log_base64"); encoded != "" && w.LogBase64 != nil {
		r.Log = w.LogBase64
	} else if r.Event == schema.EventOutput {
		r.Lost |= LostLog
	}
	if w.Offset == "" {
		r.Faults = append(r.Faults, "the offset is missing")
	}
	return r, nil
}

// eventOf infers the event from a line's parameters if the line has lost its header.
func eventOf(e receive.Element) string {
	has := func(name string) bool { return e.Get(name) != "" }
	switch {
	case has("event"):
		return e.Get("event")
	case has("interactive"):
		return "start"
	case has("signature"), has("reason") && !has("bytes"), has("reason") && has("exit_status"):
		return "end"
	case has("bytes") && has("reason"):
		return "gap"
	case has("width"), has("height"):
		return "resize"
	}
	return "output"
}

// leadingTime returns the first RFC 3339 time in the header of a line, or the zero time.
func leadingTime(head []byte) time.Time {
	for field := range strings.FieldsSeq(string(head)) {
		if at, err := time.Parse(time.RFC3339Nano, field); err == nil {
			return at
		}
	}
	return time.Time{}
}

// Maximum lengths of a syslog header's words, in characters (RFC 5424 §6).
const (
	MaxHeaderHost = 255
	MaxHeaderApp  = 48
)

// HeaderWord returns the word that a syslog header has for a value: printable ASCII of limited
// length, or "" for nothing.
func HeaderWord(value string, limit int) string {
	word := make([]byte, 0, min(len(value), limit))
	for _, r := range value {
		if len(word) == limit {
			break
		}
		if r <= ' ' || r > '~' {
			r = '_'
		}
		word = append(word, byte(r))
	}
	return string(word)
}
