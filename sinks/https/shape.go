package https

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Shape describes the object that a drain expects for each record, if it has names of its own for
// the text, the time and the level of a log. The names are those of the object's fields; "" omits a
// field. They must not be names that records have.
type Shape struct {
	// Message holds the text, instead of "text", after its operation: "operation_id=42 ls -l". So a
	// view of messages alone shows the operation of each, and a drain that parses JSON in messages
	// does not take a terminal's output for fields of the record.
	Message string
	// MaxMessageBytes bounds the message. A longer one ends with "…", and "message_cut" is true.
	// The exact bytes are in "log" or "log_base64", as always. 0 for no bound, otherwise at least
	// 1024.
	MaxMessageBytes int
	// Milliseconds holds the time in milliseconds since 1970 UTC, a number.
	Milliseconds string
	// Level holds "INFO", and "WARN" for a gap.
	Level string
	// Host and App hold the operation's host and app.
	Host, App string
	// Constant are strings that every record gets, by their names.
	Constant map[string]string
	// Record holds the record's own fields as one object; "" leaves them beside the others.
	Record string
	// MaxAge is the maximum age of records for drains that refuse older times. An older record has
	// the time of sending in Milliseconds and in "@timestamp", and "late" is true; "time" keeps its
	// own. 0 for no bound. It needs Record to be "".
	MaxAge time.Duration
}

const (
	minMessageBytes = 1 << 10 // more than any operation's ID needs
	cutMark         = "…"
)

func (s *Shape) check() error {
	if s == nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(s.Constant))
	for _, name := range []string{s.Message, s.Milliseconds, s.Level, s.Host, s.App, s.Record} {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch {
	case len(slices.Compact(slices.Clone(names))) < len(names):
		return errors.New("shape: two fields have the same name")
	case slices.Contains(names, ""):
		return errors.New("shape: a constant field has no name")
	case s.MaxMessageBytes < 0 || s.MaxMessageBytes > 0 && s.MaxMessageBytes < minMessageBytes:
		return fmt.Errorf("shape: max_message_bytes is %d: expected 0 or at least %d", s.MaxMessageBytes, minMessageBytes)
	case s.MaxAge < 0:
		return errors.New("shape: max_age must not be negative")
	case s.MaxAge > 0 && s.Record != "":
		return errors.New("shape: max_age is for records whose fields are not in an object of their own")
	}
	return nil
}

// A shaper encodes records in a Shape. It is for one goroutine.
type shaper struct {
	Shape
	constant []byte // the constant fields, each followed by a comma
	message  []byte // reused from record to record
}

func newShaper(s *Shape) *shaper {
	if s == nil {
		return nil
	}
	r := &shaper{Shape: *s}
	for _, name := range slices.Sorted(maps.Keys(s.Constant)) {
		r.constant = appendField(r.constant, name, s.Constant[name])
	}
	return r
}

const (
	recordBegin = `{"@timestamp":"` // as schema.Encoder begins each record
	emptyText   = `,"text":""`
)

// append appends the object for a record that is sent now.
func (s *shaper) append(dst []byte, encoder *schema.Encoder, e sinks.Entry, now time.Time) ([]byte, error) {
	record := *e.Record
	late := s.MaxAge > 0 && now.Sub(time.Unix(0, record.Time)) > s.MaxAge
	stamp := record.Time
	if late {
		stamp = now.UnixNano()
	}
	dst = append(dst, '{')
	if s.Milliseconds != "" {
		dst = appendName(dst, s.Milliseconds)
		dst = append(strconv.AppendInt(dst, stamp/int64(time.Millisecond), 10), ',')
	}
	if s.Message != "" {
		dst = s.appendMessage(dst, e.Operation.ID, record.Text)
		record.Text = nil
	}
	if s.Level != "" {
		level := "INFO"
		if record.Event == schema.EventGap {
			level = "WARN"
		}
		dst = appendField(dst, s.Level, level)
	}
	if s.Host != "" {
		dst = appendField(dst, s.Host, e.Operation.Host)
	}
	if s.App != "" {
		dst = appendField(dst, s.App, e.Operation.App)
	}
	dst = append(dst, s.constant...)
	if late {
		dst = append(dst, `"late":true,`...)
	}

	nested := s.Record != ""
	var joint byte // what stands where the record's own brace is
	if nested {
		dst = appendName(dst, s.Record)
		joint = '{'
	} else { // the record's fields go on where these end, with their comma or, without any, their brace
		joint = dst[len(dst)-1]
		dst = dst[:len(dst)-1]
	}
	start := len(dst)
	dst, err := encoder.AppendRecord(dst, e.Operation, &record)
	if err != nil {
		return dst, err
	}
	dst[start] = joint
	if late { // a time has always the same length
		schema.AppendTime(dst[start+len(recordBegin):start+len(recordBegin)], stamp)
	}
	if s.Message != "" {
		// It is unique: in a value, the quotes would be escaped.
		at := start + bytes.Index(dst[start:], []byte(emptyText))
		dst = append(dst[:at], dst[at+len(emptyText):]...)
	}
	if nested {
		dst = append(dst, '}')
	}
	return dst, nil
}

func (s *shaper) appendMessage(dst []byte, id string, text []byte) []byte {
	m := append(s.message[:0], "operation_id="...)
	m = append(m, id...)
	m = append(m, ' ')
	m = append(m, text...)
	cut := s.MaxMessageBytes > 0 && len(m) > s.MaxMessageBytes
	if cut {
		end := s.MaxMessageBytes - len(cutMark)
		for end > 0 && !utf8.RuneStart(m[end]) {
			end--
		}
		m = append(m[:end], cutMark...)
	}
	dst = appendName(dst, s.Message)
	dst, _ = schema.AppendString(dst, m)
	dst = append(dst, ',')
	if cut {
		dst = append(dst, `"message_cut":true,`...)
	}
	s.message = m
	return dst
}

func appendField(dst []byte, name, value string) []byte {
	dst = appendName(dst, name)
	dst, _ = schema.AppendString(dst, []byte(value))
	return append(dst, ',')
}

func appendName(dst []byte, name string) []byte {
	dst, _ = schema.AppendString(dst, []byte(name))
	return append(dst, ':')
}
