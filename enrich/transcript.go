package enrich

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// ErrAhead is returned by [Transcript.Add] for a chunk whose predecessor has not been added: keep
// the chunk and add it again after its predecessor.
var ErrAhead = errors.New("chunk arrived before its predecessor")

// Transcript is the enrichment of one operation. It must not be used concurrently.
type Transcript struct {
	operation     *schema.Operation
	operationJSON []byte
	signer        Signer

	lines      [2]line
	terminal   *terminal // nil for a session without one
	digest     hash.Hash
	textDigest hash.Hash
	proof      *proof
	sequence   uint64
	offset     uint64
	events     uint64 // event frames in records
	ended      bool

	// segment holds the finished records that are in no segment yet.
	segment schema.SegmentBuilder
	// sealed holds full segments that have not been taken yet.
	sealed  []Segment
	err     error // from sealing a segment in the middle of an Add
	buffers *Buffers
}

// Segment is an encoded segment, and the position in the session that publishing it completes.
type Segment struct {
	Data     []byte
	Position Progress
	Ended    bool // it contains the end of the session
	Records  int
	First    int64 // time at which its first byte was shown, in nanoseconds since 1970 UTC
}

// New starts the transcript of an operation. A nil signer leaves it unsigned. It refuses an
// operation without a user document, or whose user document has not expired at now.
func New(op *schema.Operation, signer Signer, now time.Time) (*Transcript, error) {
	if err := CheckDocument(op.UserDocument, now); err != nil {
		return nil, fmt.Errorf("operation %s: %w", op.ID, err)
	}
	operationJSON, err := json.Marshal(op)
	if err != nil {
		return nil, fmt.Errorf("encode operation %s: %w", op.ID, err)
	}
	t := &Transcript{operation: op, operationJSON: operationJSON, signer: signer, digest: sha256.New(), textDigest: sha256.New(), buffers: new(Buffers)}
	if signer != nil {
		t.proof = newProof(op)
	}
	t.lines[schema.Stderr].stream = schema.Stderr
	if op.Interactive {
		t.terminal = newTerminal(op.Width, op.Height)
	}
	return t, nil
}

// Resume continues after the last published segment of an operation.
func Resume(last *schema.Segment, signer Signer, now time.Time) (*Transcript, error) {
	t, err := New(last.Operation, signer, now)
	if err != nil {
		return nil, err
	}
	r := &last.Resume
	if err := errors.Join(
		t.digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(r.Digest),
		t.textDigest.(encoding.BinaryUnmarshaler).UnmarshalBinary(r.TextDigest)); err != nil {
		return nil, fmt.Errorf("resume operation %s: %w", last.Operation.ID, err)
	}
	if signer != nil {
		t.proof = readProof(r.Proof)
	}
	final := &last.Records[len(last.Records)-1]
	if t.proof != nil {
		t.proof.last = final.Time
	}
	t.sequence, t.offset, t.events, t.ended = r.Sequence, final.Offset+final.Span(), r.Events, r.Ended
	if t.terminal != nil && len(r.Terminal) > 0 {
		// An unreadable state is replaced by a fresh terminal: the texts of a few records then have
		// less of the lines that earlier records began.
		if remembered, ok := readState(r.Terminal); ok {
			t.terminal = remembered
		}
	}
	for i := range t.lines {
		t.lines[i].consumed = r.Consumed[i]
		t.lines[i].state, t.lines[i].hidden = parser(r.Parser[i]&^hiddenParser), r.Parser[i]&hiddenParser != 0
	}
	return t, nil
}

// Use makes the transcript use shared buffers. It must be called before the first Add, and all
// users of the buffers must run in the same goroutine.
func (t *Transcript) Use(b *Buffers) { t.buffers = b }

// Operation returns the operation of the transcript, which must not be modified.
func (t *Transcript) Operation() *schema.Operation { return t.operation }

// Ended reports whether the end of the session has been added: nothing follows it.
func (t *Transcript) Ended() bool { return t.ended }

// Received returns the position up to which the session's chunks have been added.
func (t *Transcript) Received() Progress {
	return Progress{[2]uint64{t.lines[0].received(), t.lines[1].received()}, t.events}
}

// Progress is a position in a session: the number of bytes of each stream, and of events.
type Progress struct {
	Bytes  [2]uint64
	Events uint64
}

// Reaches reports whether p is at or after q in every stream and in events.
func (p Progress) Reaches(q Progress) bool {
	return p.Bytes[0] >= q.Bytes[0] && p.Bytes[1] >= q.Bytes[1] && p.Events >= q.Events
}

// Add adds a chunk. It skips everything that was added before, so chunks may be added again after a
// restart, and returns [ErrAhead] for a chunk that arrives too early. now is the enricher's own
// time. The caller keeps ownership of the chunk's bytes.
//
// After the end of the session, whose signature covers everything, all chunks are skipped.
func (t *Transcript) Add(c *schema.Chunk, now time.Time) error {
	if t.ended {
		return t.err
	}
	at := Progress{c.Offset, c.Events}
	if !t.Received().Reaches(at) {
		return ErrAhead
	}
	for i := range c.Frames {
		if t.ended {
			break
		}
		f := &c.Frames[i]
		if f.Kind.IsOutput() {
			stream := f.Kind.Stream()
			l := &t.lines[stream]
			seen := l.received() - at.Bytes[stream] // the length of the known prefix of the frame; may exceed the frame
			at.Bytes[stream] += uint64(len(f.Payload))
			if seen < uint64(len(f.Payload)) {
				l.add(f.Payload[seen:], f.Time, now, t.emit)
			}
			continue
		}
		at.Events++
		// The end is new until it was added, whatever its number: a gateway that was killed does
		// not know which chunk was its last if one was refused and stored after its successors.
		if at.Events <= t.events && f.Kind != schema.FrameEnd {
			continue
		}
		if err := t.addEvent(f, now); err != nil {
			return err
		}
	}
	return t.err
}

// Lost adds a gap for the bytes before c that will never arrive; then c can be added.
func (t *Transcript) Lost(c *schema.Chunk, reason string, now time.Time) error {
	if t.ended {
		return t.err
	}
	for i := range t.lines {
		t.lines[i].end(now, t.emit)
	}
	t.forgetTerminal()
	// From here on no segment is sealed before it contains the gap.
	var missing uint64
	for i := range t.lines {
		l := &t.lines[i]
		l.state, l.hidden = ground, false
		if c.Offset[i] > l.consumed {
			missing += c.Offset[i] - l.consumed
			l.consumed = c.Offset[i]
		}
	}
	t.events = max(t.events, c.Events)
	at := now.UnixNano()
	if len(c.Frames) > 0 {
		at = c.Frames[0].Time
	}
	return t.event(schema.EventGap, at, &schema.Detail{Bytes: &missing, Reason: reason})
}

// forgetTerminal discards the terminal's state after a gap.
func (t *Transcript) forgetTerminal() {
	if t.terminal != nil {
		t.terminal.forget()
	}
}

// Expire cuts the lines whose first byte arrived MaxAge or longer before now, and adds a checkpoint
// if records have waited long for one.
func (t *Transcript) Expire(now time.Time) {
	for i := range t.lines {
		if l := &t.lines[i]; len(l.pending) > 0 && now.Sub(l.since) >= MaxAge {
			l.flush(now, t.emit)
		}
	}
	t.expireUnsigned(now)
}

// Ready reports whether there are finished records to take.
func (t *Transcript) Ready() bool { return len(t.sealed)+t.segment.Records() > 0 }

// Take returns the next segment of finished records; Ready must be true. The caller owns it, and
// may return its Data to the transcript's [Buffers] when it is no longer needed.
func (t *Transcript) Take() (Segment, error) {
	if t.err != nil {
		return Segment{}, t.err
	}
	if len(t.sealed) == 0 {
		if err := t.seal(); err != nil {
			return Segment{}, err
		}
	}
	s := t.sealed[0]
	t.sealed = slices.Delete(t.sealed, 0, 1) // which also clears the reference to it
	return s, nil
}

// seal makes a segment of the finished records and the state after them.
func (t *Transcript) seal() error {
	digest, err := t.digest.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("operation %s: %w", t.operation.ID, err)
	}
	textDigest, err := t.textDigest.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("operation %s: %w", t.operation.ID, err)
	}
	proof, err := t.proof.appendState(nil)
	if err != nil {
		return fmt.Errorf("operation %s: %w", t.operation.ID, err)
	}
	resume := schema.Resume{
		Consumed: [2]uint64{t.lines[0].consumed, t.lines[1].consumed},
		Parser:   [2]uint8{t.lines[0].parserState(), t.lines[1].parserState()},
		Events:   t.events,
		Digest:   digest, TextDigest: textDigest,
		Ended: t.ended,
	}
	if !t.ended {
		resume.Proof = proof
	}
	if t.terminal != nil && !t.ended && !t.terminal.isNew(t.operation.Width, t.operation.Height) {
		resume.Terminal = t.terminal.appendState(nil)
	}
	made := Segment{Position: Progress{resume.Consumed, resume.Events}, Ended: t.ended, Records: t.segment.Records(), First: t.segment.First()}
	if made.Data, err = t.segment.Finish(&resume); err != nil {
		return fmt.Errorf("operation %s: %w", t.operation.ID, err)
	}
	t.sealed = append(t.sealed, made)
	return nil
}

// emit makes a record of a finished piece of a line.
func (t *Transcript) emit(l *line, p piece) {
	b := t.buffers
	read := trimEnd(p.log)
	onTerminal := t.terminal != nil && l.stream == schema.Stdout
	known := false
	if !onTerminal {
		if l.hidden || !p.plain && needsTerminal(p) {
			b.text, known = b.showLoose(b.text[:0], p, &l.hidden)
		}
	} else {
		b.text, known = t.terminal.read(b.text[:0], p, b)
	}
	switch {
	case known:
		read = b.text
	case !p.plain:
		b.text, _, _ = scan(b.text[:0], read, p.state, true)
		read = b.text
	}
	b.timing = appendTiming(b.timing[:0], p.arrivals)
	b.record = schema.Record{
		Event: schema.EventOutput, Stream: l.stream, Partial: p.cause != whole, Time: p.arrivals[0].at,
		Log: p.log, Text: read, Timing: b.timing,
	}
	t.digest.Write(p.log)
	if err := t.number(&b.record); err != nil { // never: only the details of an event can fail
		t.err = errors.Join(t.err, err)
	}
	t.append(&b.record)
}

// trimEnd returns a line without its line end.
func trimEnd(line []byte) []byte {
	n := len(line)
	for n > 0 && (line[n-1] == '\n' || line[n-1] == '\r') {
		n--
	}
	return line[:n]
}

// addEvent makes the record of an event frame. Earlier output comes first: the pending bytes are
// cut, except for an unfinished sequence, which shows nothing by itself.
func (t *Transcript) addEvent(f *schema.Frame, now time.Time) error {
	if f.Kind == schema.FrameStart {
		op := t.operation
		t.events++
		return t.event(schema.EventStart, f.Time, &schema.Detail{
			Command: op.Command, Interactive: &op.Interactive, Width: op.Width, Height: op.Height, Origin: op.Origin,
		})
	}
	detail := new(schema.Detail)
	if err := json.Unmarshal(f.Payload, detail); err != nil {
		return fmt.Errorf("operation %s: event: %w", t.operation.ID, schema.ErrCorrupt)
	}
	for i := range t.lines {
		if f.Kind != schema.FrameEnd && f.Kind != schema.FrameGap {
			t.lines[i].flush(now, t.emit)
		} else {
			t.lines[i].end(now, t.emit)
		}
	}
	t.events++
	switch f.Kind {
	case schema.FrameResize:
		if t.terminal != nil {
			t.terminal.resize(detail.Width, detail.Height)
		}
		return t.event(schema.EventResize, f.Time, detail)
	case schema.FrameGap:
		t.forgetTerminal()
		if detail.Bytes == nil {
			detail.Bytes = new(uint64)
		}
		return t.event(schema.EventGap, f.Time, detail)
	case schema.FrameInput:
		return t.event(schema.EventInput, f.Time, detail)
	case schema.FrameTransfer:
		return t.event(schema.EventTransfer, f.Time, detail)
	}
	t.ended = true
	return t.event(schema.EventEnd, f.Time, detail)
}

// event makes the record of an event, and signs a start, a gap, a checkpoint and an end.
func (t *Transcript) event(e schema.Event, at int64, d *schema.Detail) error {
	b := t.buffers
	b.text = appendEventText(b.text[:0], e, d)
	b.record = schema.Record{Event: e, Time: at, Detail: d, Text: b.text}
	if e == schema.EventEnd {
		total := t.offset
		d.Bytes = &total
	}
	err := t.number(&b.record)
	if err != nil {
		return err
	}
	switch e {
	case schema.EventStart:
		d.Signature, err = t.signStart()
	case schema.EventGap:
		d.Signature, err = t.signGap(&b.record)
	case schema.EventEnd:
		d.Signature, err = t.signTotals(schema.SignedEnd, &b.record)
	case schema.EventCheckpoint:
		d.Signature, err = t.signCheckpoint(&b.record)
	}
	if err != nil {
		return err
	}
	t.append(&b.record)
	return nil
}

// origin describes where a session came from: "" if nothing is known.
func origin(o *schema.Origin) string {
	var s string
	if o.Address != "" {
		s += " from " + o.Address
	}
	switch o.Method {
	case schema.MethodKey:
		s += " with a key"
	case schema.MethodKeyToken:
		s += " with a key and an access token"
	case schema.MethodCertificate:
		s += " with a certificate"
	case schema.MethodCertificateToken:
		s += " with a certificate and an access token"
	}
	if o.Key != "" {
		s += " (" + o.Key + ")"
	}
	return s
}

// sentence describes an event.
func sentence(e schema.Event, d *schema.Detail) string {
	switch e {
	case schema.EventStart:
		s := "session started"
		if d.Command != "" {
			s += ": " + d.Command
		}
		if d.Interactive != nil && *d.Interactive {
			s += fmt.Sprintf(" (terminal of %d by %d)", d.Width, d.Height)
		}
		return s + origin(&d.Origin)
	case schema.EventResize:
		return fmt.Sprintf("terminal is now %d by %d", d.Width, d.Height)
	case schema.EventGap:
		return fmt.Sprintf("%d bytes are missing here: %s", *d.Bytes, d.Reason)
	case schema.EventEnd:
		s := "session ended: " + d.Reason
		if d.EndedBy != "" {
			s += " by " + d.EndedBy
		}
		if d.EndedBecause != "" {
			s += " (" + d.EndedBecause + ")"
		}
		if d.ExitStatus != nil {
			s += fmt.Sprintf(", status %d", *d.ExitStatus)
		}
		if d.InputBytes != nil {
			s += fmt.Sprintf("; its input had %d bytes with the SHA-256 %s", *d.InputBytes, d.InputSHA256)
		}
		return s
	case schema.EventInput:
		return "input: " + string(bytes.TrimRight(d.Input, "\r\n"))
	case schema.EventTransfer:
		return transferSentence(d)
	case schema.EventCheckpoint:
		return "everything up to here is signed"
	}
	return e.String()
}

// number sets the sequence, the offset and the digests of a record.
func (t *Transcript) number(r *schema.Record) error {
	t.sequence++
	r.Sequence, r.Offset = t.sequence, t.offset
	t.offset += r.Span()
	t.digest.Sum(r.Digest[:0])
	t.textDigest.Write(r.Text)
	t.textDigest.Write(newline)
	t.textDigest.Sum(r.TextDigest[:0])
	if t.proof == nil {
		return nil
	}
	t.proof.last = r.Time
	if err := t.proof.digests.Add(r); err != nil {
		return fmt.Errorf("operation %s: digest of record %d: %w", t.operation.ID, r.Sequence, err)
	}
	return nil
}

var newline = []byte{'\n'}

// append adds a numbered record to the next segment, and seals the segment when it is full.
func (t *Transcript) append(r *schema.Record) {
	if t.segment.Records() == 0 {
		t.segment.Begin(t.buffers.take(), t.operationJSON)
	}
	if err := t.segment.Add(r); err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("operation %s: %w", t.operation.ID, err))
	}
	*r = schema.Record{} // its bytes are reused
	if t.segment.Size() >= schema.MaxSegment {
		t.err = errors.Join(t.err, t.seal())
	}
	if t.unsigned() >= checkpointRecords {
		t.checkpoint()
	}
}

// Size returns the approximate memory of the finished records in bytes.
func (t *Transcript) Size() int {
	size := t.segment.Size()
	for i := range t.sealed {
		size += len(t.sealed[i].Data)
	}
	return size
}
