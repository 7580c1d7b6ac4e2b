package corpus

import (
	"bytes"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

// chunkBytes is the size at which a chunk of a busy session is full, as in the capture.
const chunkBytes = 32 << 10

// Totals counts the output of complete sessions.
type Totals struct {
	Sessions, Chunks, Lines int
	// Records is the number of records that the enricher makes of it: of lines, of partial lines,
	// and of the start and end of each session.
	Records int
	Bytes   int64
}

// Play plays sessions until they have that many records, and then ends them. Their chunks
// take turns. It calls chunk for each chunk, which is s.Next, and segment for the segments that the
// enricher makes of it. keystrokes makes every frame a chunk; otherwise chunks are full.
func Play(all []*Session, records int, keystrokes bool, chunk func(*Session) error, segment func(enrich.Segment) error) (Totals, error) {
	f := Totals{Sessions: len(all)}
	now := time.Now() // the same for all chunks, so that no line is cut because playing takes long
	add := func(s *Session, frames ...schema.Frame) error {
		s.Next.Frames = frames
		if err := chunk(s); err != nil {
			return err
		}
		if err := s.transcript.Add(&s.Next, now); err != nil {
			return err
		}
		for s.transcript.Ready() {
			made, err := s.transcript.Take()
			if err != nil {
				return err
			}
			f.Records += made.Records
			if err := segment(made); err != nil {
				return err
			}
		}
		s.Next.Ordinal++
		f.Chunks++
		for _, frame := range frames {
			if !frame.Kind.IsOutput() {
				s.Next.Events++
				continue
			}
			s.Next.Offset[0] += uint64(len(frame.Payload))
			f.Bytes += int64(len(frame.Payload))
			f.Lines += bytes.Count(frame.Payload, []byte("\n"))
		}
		return nil
	}
	for _, s := range all {
		start, err := schema.StartFrame(s.Operation.Started, s.Operation)
		if err != nil {
			return f, err
		}
		if err := add(s, start); err != nil {
			return f, err
		}
	}
	for f.Records < records {
		for _, s := range all {
			s.frames = s.terminal.show(s.frames)
			for len(s.frames) > 0 {
				n := fullChunk(s.frames)
				if keystrokes {
					n = 1
				} else if n == 0 { // not full yet
					break
				}
				if err := add(s, s.frames[:n]...); err != nil {
					return f, err
				}
				s.frames = s.frames[n:]
			}
		}
	}
	for _, s := range all {
		status := 0
		end, err := schema.DetailFrame(schema.FrameEnd, s.terminal.at, &schema.Detail{ExitStatus: &status, Reason: "exit"})
		if err != nil {
			return f, err
		}
		if err := add(s, append(s.frames, end)...); err != nil {
			return f, err
		}
	}
	return f, nil
}

// A Session is one played session.
type Session struct {
	Operation  *schema.Operation
	Subject    string // on the TTY stream, set by the caller
	terminal   *terminal
	transcript *enrich.Transcript // of the chunks so far
	Next       schema.Chunk
	frames     []schema.Frame // not yet in a chunk
}

// UserDocuments returns a function that signs user documents with a key.
func UserDocuments(key *enrich.Key) func(schema.User) (string, error) {
	return func(u schema.User) (string, error) { return key.Mint("https://auth.example.com", u, time.Now()) }
}

// NewSession returns a session. create sets the ID of its operation.
func NewSession(key *enrich.Key, seed uint64, create func(*schema.Operation) error) (*Session, error) {
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	document, err := UserDocuments(key)(user)
	if err != nil {
		return nil, err
	}
	t := newTerminal(seed)
	op := &schema.Operation{
		Stack: "default", App: "web", AppID: "1234", Service: "web", Layer: "app", Host: "gateway-1", User: user, UserDocument: document,
		Interactive: true, Width: recordedWidth, Height: recordedHeight, Started: t.at.UTC(), Expires: t.at.Add(7 * 24 * time.Hour).UTC(),
	}
	if err := create(op); err != nil {
		return nil, err
	}
	op.Container = "web-" + op.ID
	s := &Session{Operation: op, terminal: t}
	if s.transcript, err = enrich.New(op, key, time.Now()); err != nil {
		return nil, err
	}
	return s, nil
}

// fullChunk returns the number of frames that fill a chunk, or 0 if they do not.
func fullChunk(frames []schema.Frame) int {
	size := 0
	for i, f := range frames {
		if size += len(f.Payload); size >= chunkBytes {
			return i + 1
		}
	}
	return 0
}
