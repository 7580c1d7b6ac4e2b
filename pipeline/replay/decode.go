package replay

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

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

// userID is the user's ID in a user document, whose signature nobody has looked at; "" where it has none.
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

// A wireRecord is a record's JSON object in any of the shapes that drains give it.
type wireRecord struct {
	receive.Record
	Log  *string `json:"log"`
	Text *string `json:"text"`
	// Message is the text where a preset has it so, with "operation_id=ID " before it.
	Message *string `json:"message"`
	Line    *string `json:"line"`
	Cut     bool    `json:"message_cut"`
	// Mezmo has the record in its own object; the others are those of exports.
	Meta       json.RawMessage `json:"meta"`
	MetaOut    json.RawMessage `json:"_meta"`
	Source     json.RawMessage `json:"_source"`
	Attributes json.RawMessage `json:"attributes"`
}

// isRecord says whether the object is a record, and not one of somebody else's.
func (w *wireRecord) isRecord() bool { return w.OperationID != "" && w.Event != "" }

// object reads a record out of a JSON object. The error is errOther, or says what is wrong without quoting.
func (d *decoder) object(data []byte) (*Record, error) {
	w, err := findRecord(data, 0)
	if err != nil {
		return nil, err
	}
	r := d.record(&w.Record)
	r.Lost |= LostTextDigest
	switch {
	case w.LogBase64 != nil:
		r.Log = w.LogBase64
		if w.Log == nil || !saysLog(*w.Log, w.LogBase64) {
			r.Faults = append(r.Faults, "log and log_base64 contradict each other")
		}
	case w.Log != nil:
		r.Log = []byte(*w.Log)
	case r.Event == schema.EventOutput:
		r.Lost |= LostLog
	}
	switch {
	case w.Text != nil:
		r.Text = []byte(*w.Text)
	case w.Message != nil:
		r.Text = []byte(afterID(*w.Message, w.OperationID))
	case w.Line != nil:
		r.Text = []byte(afterID(*w.Line, w.OperationID))
	default:
		r.Lost |= LostText
	}
	if w.Cut {
		r.Lost |= LostText | LostByDrain
	}
	if w.Stream == "" {
		r.Faults = append(r.Faults, "there is no stream")
	}
	if w.File != "" && w.File != "operations/"+w.OperationID {
		r.Faults = append(r.Faults, FaultIDs)
	}
	if w.Offset == "" {
		r.Faults = append(r.Faults, "there is no offset")
	}
	return r, nil
}

// objects gives the records that are in an object: one, or the list of a request or of an answer.
func (d *decoder) objects(data []byte, place Place, v Visitor) error {
	if list := listOf(data); list != nil {
		for _, one := range list {
			if err := d.objects(one, place, v); err != nil {
				return err
			}
		}
		return nil
	}
	r, err := d.object(data)
	if errors.Is(err, errOther) {
		r, err = d.wrapped(data)
	}
	switch {
	case errors.Is(err, errOther):
		v.other()
	case err != nil:
		v.broken(brokenAt(place, data, err))
	default:
		r.Place = place
		return v.Record(r)
	}
	return nil
}

// wrapped reads a record out of an object in which a syslog server has put a message whole, under whatever name.
func (d *decoder) wrapped(data []byte) (*Record, error) {
	var fields map[string]any
	if !bytes.Contains(data, []byte("["+receive.SessionID+" ")) || json.Unmarshal(data, &fields) != nil {
		return nil, errOther
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if text, _ := fields[name].(string); strings.HasPrefix(text, "<") {
			if r, err := d.message([]byte(text)); !errors.Is(err, errOther) {
				return r, err
			}
		}
	}
	return nil, errOther
}

// listOf is the list of objects that Mezmo's requests, Datadog's answers and Elasticsearch's have in them; nil for none.
func listOf(data []byte) []json.RawMessage {
	if !bytes.Contains(data[:min(len(data), 4096)], []byte(`":[`)) && !bytes.Contains(data[:min(len(data), 4096)], []byte(`": [`)) {
		return nil
	}
	var w struct {
		Operation *string           `json:"operation_id"`
		Lines     []json.RawMessage `json:"lines"`
		Data      []json.RawMessage `json:"data"`
		Hits      struct {
			Hits []json.RawMessage `json:"hits"`
		} `json:"hits"`
	}
	if json.Unmarshal(data, &w) != nil || w.Operation != nil {
		return nil
	}
	for _, list := range [][]json.RawMessage{w.Lines, w.Data, w.Hits.Hits} {
		if list != nil {
			return list
		}
	}
	return nil
}

// maxNesting is how deep in other objects a record is looked for.
const maxNesting = 3

// findRecord looks for a record in an object, and in those that presets and exports put around it.
func findRecord(data []byte, depth int) (*wireRecord, error) {
	w := new(wireRecord)
	if err := json.Unmarshal(data, w); err != nil {
		if hasRecordNames(data) {
			return nil, jsonError(err)
		}
		return nil, errOther
	}
	if w.isRecord() {
		return w, nil
	}
	if depth == maxNesting {
		return nil, errOther
	}
	for _, inner := range []json.RawMessage{w.Meta, w.MetaOut, w.Source, w.Attributes} {
		if len(inner) == 0 || inner[0] != '{' {
			continue
		}
		found, err := findRecord(inner, depth+1)
		if err != nil {
			if errors.Is(err, errOther) {
				continue
			}
			return nil, err
		}
		// What the wrapper has in the record's place.
		if found.Text == nil && found.Message == nil && found.Line == nil {
			found.Message, found.Line = w.Message, w.Line
		}
		found.Cut = found.Cut || w.Cut
		return found, nil
	}
	return nil, errOther
}

// saysLog says whether log is what a drain gets for bytes that are not UTF-8.
func saysLog(log string, exact []byte) bool {
	var said string
	encoded, _ := schema.AppendString(nil, exact)
	return json.Unmarshal(encoded, &said) == nil && said == log
}

// afterID is a message without the operation's ID in front.
func afterID(message, id string) string {
	if _, text, ok := strings.Cut(message, "operation_id="+id+" "); ok {
		return text
	}
	return message
}

// message reads a record out of a line of syslog that has the structured data of one.
func (d *decoder) message(data []byte) (*Record, error) {
	at := bytes.Index(data, []byte("["+receive.SessionID+" "))
	if at < 0 {
		if bytes.Contains(data, []byte(` text_digest="`)) && hasRecordNames(data) {
			return nil, errors.New("its structured data are not ttydrain's")
		}
		return nil, errOther
	}
	m, err := receive.ParseMessage(data)
	headed := err == nil
	if !headed { // a file's own line, in which the structured data and the text are as they were
		m, err = receive.ParseMessage(append([]byte("<13>1 - - - - - "), data[at:]...))
		if err != nil {
			return nil, errors.New("its structured data are not of RFC 5424")
		}
		m.Timestamp = leadingTime(data[:at])
	}
	element := m.Data[receive.SessionID]
	w := receive.RecordOf(m)
	// The message has the ID in printable ASCII, behind a token.
	text := m.Text
	if _, after, ok := strings.Cut(text, "operation_id="); ok {
		id, rest, _ := strings.Cut(after, " ")
		w.Text, text = rest, id
	} else {
		text = ""
	}
	if !headed {
		w.Event = eventOf(element)
	}
	r := d.record(&w)
	if !headed {
		r.Lost |= LostTime
	}
	if text != w.OperationID || headed && (m.ProcID != w.OperationID || element.Get("operation_id") == "") {
		r.Faults = append(r.Faults, FaultIDs)
	}
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
	var ok bool
	if r.TextDigest, ok = parseDigest(w.TextDigest); !ok {
		r.Lost |= LostTextDigest
		r.Faults = append(r.Faults, "text_digest is no SHA-256 digest")
	}
	if encoded := element.Get("log_base64"); encoded != "" && w.LogBase64 != nil {
		r.Log = w.LogBase64
	} else if r.Event == schema.EventOutput {
		r.Lost |= LostLog
	}
	if w.Offset == "" {
		r.Faults = append(r.Faults, "there is no offset")
	}
	return r, nil
}

// eventOf tells an event by what it has, where a line has lost its header.
func eventOf(e receive.Element) string {
	has := func(name string) bool { return e.Get(name) != "" }
	switch {
	case has("signature"), has("reason") && !has("bytes"), has("reason") && has("exit_status"):
		return "end"
	case has("bytes") && has("reason"):
		return "gap"
	case has("interactive"):
		return "start"
	case has("width"), has("height"):
		return "resize"
	}
	return "output"
}

// leadingTime is the time of RFC 3339 with which a line begins, or behind which its priority is; zero for none.
func leadingTime(head []byte) time.Time {
	for field := range strings.FieldsSeq(string(head)) {
		if at, err := time.Parse(time.RFC3339Nano, field); err == nil {
			return at
		}
	}
	return time.Time{}
}

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
	for e := schema.EventOutput; e <= schema.EventGap; e++ {
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
			Uncertain: w.Uncertain, Signature: w.Signature,
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
