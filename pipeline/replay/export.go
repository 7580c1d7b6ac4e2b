package replay

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

// WriteCast writes a session as an asciicast. Pauses are shortened to idleLimit unless it is 0.
// Markers ("m") show missing records and the end of the session. Players write the output to the
// terminal unfiltered, so it is passed through a [Filter] unless exact is set.
func WriteCast(w io.Writer, s *Session, idleLimit time.Duration, exact bool) error {
	t := NewTimeline(s, idleLimit)
	op := *s.Operation
	op.User.Name = cmp.Or(op.User.Name, "somebody") // not every copy has the user's name
	begin := int64(0)
	if !s.Started.IsZero() {
		begin = s.Started.UnixNano()
	}
	cast := NewAsciicast(&op, begin)
	line := cast.AppendHeader(nil)
	var filters [2]Filter // by stream
	var shown []byte
	for _, m := range t.Moments() {
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write the asciicast: %w", err)
		}
		at := begin + int64(m.At)
		switch line = line[:0]; m.Event {
		case schema.EventOutput:
			shown = filters[m.Stream].Append(shown[:0], m.Bytes)
			if exact {
				shown = append(shown[:0], m.Bytes...)
			}
			line = cast.AppendOutput(line, at, m.Stream, shown)
		case schema.EventResize:
			line = cast.AppendResize(line, at, &schema.Detail{Width: m.Width, Height: m.Height})
		case schema.EventGap, schema.EventTransfer, schema.EventEnd:
			line = cast.appendMarker(line, at, m.Notice)
		}
	}
	if _, err := w.Write(line); err != nil {
		return fmt.Errorf("write the asciicast: %w", err)
	}
	return nil
}

// appendMarker appends the event line for a marker.
func (a *Asciicast) appendMarker(dst []byte, at int64, label string) []byte {
	dst = append(a.appendTime(dst, at), `"m",`...)
	dst, _ = schema.AppendString(dst, []byte(label))
	return append(dst, "]\n"...)
}

// WriteText writes a session as readable text: one line for each displayed line, without escape
// sequences, and other events in brackets. Pieces of a line that were recorded separately are
// joined as far as possible.
func WriteText(w io.Writer, s *Session) error {
	t := textWriter{w: w}
	last := uint64(0)
	for r := range s.Transcript() {
		if r.Sequence > last+1 {
			t.event(missingRecords(last+1, r.Sequence-1))
		}
		last = r.Sequence
		switch r.Event {
		case schema.EventOutput:
			t.output(r)
		case schema.EventCheckpoint: // which is for audits
		default:
			t.event(string(r.Text))
		}
	}
	t.flush()
	if t.err != nil {
		return fmt.Errorf("write the text: %w", t.err)
	}
	return nil
}

// betweenLines separates the lines within a text: see [schema.Record].
const betweenLines = " ⏎ "

type textWriter struct {
	w       io.Writer
	pending [2]*textPiece // by stream: an incomplete line
	err     error         // of the first write that failed
}

// textPiece is the beginning of a line.
type textPiece struct {
	text []byte
	long bool // it was split because of its length, and continues without overlap
}

func (t *textWriter) output(r *Record) {
	if len(r.Text) == 0 && len(bytes.TrimRight(r.Log, "\r\n")) > 0 { // no visible text
		return
	}
	p := t.pending[r.Stream]
	t.pending[r.Stream] = nil
	text := r.Text
	if p != nil {
		switch {
		case bytes.HasPrefix(text, p.text) && !p.long: // split because of its age; the next record repeats it
		case p.long:
			text = append(p.text, text...)
		default:
			t.line(p.text)
		}
	}
	if r.Partial {
		t.pending[r.Stream] = &textPiece{bytes.Clone(text), max(len(r.Log), len(r.Text)) > enrich.MaxLine/2}
		return
	}
	t.line(text)
}

func (t *textWriter) event(sentence string) {
	t.flush()
	t.line([]byte("[" + sentence + "]"))
}

func (t *textWriter) flush() {
	for stream, p := range t.pending {
		if p != nil {
			t.line(p.text)
			t.pending[stream] = nil
		}
	}
}

// line writes a line. It removes control characters, which only an altered copy has.
func (t *textWriter) line(text []byte) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, strings.ReplaceAll(withoutControls(string(text)), betweenLines, "\n")+"\n")
	}
}

// WriteRecords writes a session's records in the JSON form of HTTPS drains, one per line, without
// duplicates and in order. Fields that the copy has lost are omitted.
func WriteRecords(w io.Writer, s *Session) error {
	var e RecordEncoder
	var line []byte
	for r := range s.Transcript() {
		var err error
		if line, err = e.Append(line[:0], r); err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write the records: %w", err)
		}
	}
	return nil
}

// RecordEncoder encodes records as NDJSON. The zero value is ready. It is not safe for concurrent
// use.
type RecordEncoder struct{ encoder schema.Encoder }

// Append appends a record as a JSON object and a newline. Fields that the copy has lost are
// omitted.
func (e *RecordEncoder) Append(dst []byte, r *Record) ([]byte, error) {
	start := len(dst)
	dst, err := e.encoder.AppendRecord(dst, r.Operation, &r.Record)
	if err != nil {
		return dst, err
	}
	drop := func(field string) {
		// Quotes in values are escaped, so the name with its quotes cannot occur in a value.
		if at := bytes.Index(dst[start:], []byte(field)); at >= 0 {
			at += start
			end := at + len(field)
			end += bytes.IndexByte(dst[end:], '"') + 1
			dst = append(dst[:at], dst[end:]...)
		}
	}
	if r.Lost.Has(LostLog) {
		drop(`,"log":"`)
	}
	if r.Lost.Has(LostDigest) {
		drop(`,"digest":"`)
	}
	if r.Lost.Has(LostTime) {
		drop(`,"time":"`)
		drop(`"@timestamp":"`)
		dst = append(dst[:start+1], bytes.TrimPrefix(dst[start+1:], []byte(","))...)
	}
	return append(dst, '\n'), nil
}
