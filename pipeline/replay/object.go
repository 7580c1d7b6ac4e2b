package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
)

// wireRecord is a record's JSON object in any of the shapes of drains.
type wireRecord struct {
	receive.Record
	Log  *string `json:"log"`
	Text *string `json:"text"`
	// Message is the text in the shape of some presets, preceded by "operation_id=ID ".
	Message *string `json:"message"`
	Line    *string `json:"line"`
	Cut     bool    `json:"message_cut"`
	// Late reports that @timestamp is the time of the delivery.
	Late bool `json:"late"`
	// Mezmo nests the record in Meta; the other objects are those of exports.
	Meta       json.RawMessage `json:"meta"`
	MetaOut    json.RawMessage `json:"_meta"`
	Source     json.RawMessage `json:"_source"`
	Attributes json.RawMessage `json:"attributes"`

	object []byte // the record's own
	hosted bool   // it is in the form of a hosted service
}

// isRecord reports whether the object is a record of ttydrain.
func (w *wireRecord) isRecord() bool {
	return w.OperationID != "" && (w.Event != "" || w.Sequence > 0 && w.Digest != "")
}

// object decodes a record from a JSON object. The error is errOther, or describes the problem
// without quoting the object.
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
		if w.Log == nil || !encodesAs(*w.Log, w.LogBase64) {
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
		r.Faults = append(r.Faults, "the stream is missing")
	}
	if w.File != "" && w.File != "operations/"+w.OperationID {
		r.Faults = append(r.Faults, FaultIDs)
	}
	if w.Offset == "" {
		r.Faults = append(r.Faults, "the offset is missing")
	}
	recordForm().inspect(r, w.object, w.hosted)
	inspectConstants(r, w)
	return r, nil
}

// objects passes the records in an object to v: a single record, or the list of a request or
// response.
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

// wrapped decodes a record from an object in which a syslog server has stored a whole message,
// under any field name.
func (d *decoder) wrapped(data []byte) (*Record, error) {
	var fields map[string]any
	if !bytes.Contains(data, []byte(" text_digest=")) || json.Unmarshal(data, &fields) != nil {
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

// listOf returns the list of objects in a request to Mezmo or a response of Datadog or
// Elasticsearch, or nil.
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

var errNoID = errors.New("the operation ID is missing")

// maxNesting limits the depth at which a record is searched in nested objects.
const maxNesting = 3

// findRecord finds a record in an object or in the envelopes of presets and exports.
func findRecord(data []byte, depth int) (*wireRecord, error) {
	w := new(wireRecord)
	if err := json.Unmarshal(data, w); err != nil {
		if hasRecordNames(data) {
			return nil, jsonError(err)
		}
		return nil, errOther
	}
	if w.isRecord() {
		w.object, w.hosted = data, w.Message != nil && w.Text == nil || w.Line != nil && w.Text == nil
		return w, nil
	}
	if w.OperationID == "" && w.Sequence > 0 && len(w.Digest) == 2*len(schema.Digest{}) && w.Event != "" {
		return nil, errNoID
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
		// Fields that the envelope has instead of the record.
		if found.Text == nil && found.Message == nil && found.Line == nil {
			found.Message, found.Line = w.Message, w.Line
		}
		found.Host, found.Service = cmp.Or(found.Host, w.Host), cmp.Or(found.Service, w.Service)
		found.Cut = found.Cut || w.Cut
		found.hosted = found.hosted || len(w.Source) == 0 // anything but an export of Elasticsearch
		return found, nil
	}
	return nil, errOther
}

// encodesAs reports whether log is the form in which a drain receives bytes that are not UTF-8.
func encodesAs(log string, exact []byte) bool {
	var decoded string
	encoded, _ := schema.AppendString(nil, exact)
	return json.Unmarshal(encoded, &decoded) == nil && decoded == log
}

// afterID returns a message without the leading operation ID.
func afterID(message, id string) string {
	if _, text, ok := strings.Cut(message, "operation_id="+id+" "); ok {
		return text
	}
	return message
}
