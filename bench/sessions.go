package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// chunkBytes is when a chunk of a busy session is full, as the capture has it.
	chunkBytes = 32 << 10
	// publishesAhead is how many chunks are under way to the stream at a time.
	publishesAhead = 32
)

// A filling is what sessions showed, from their starts to their ends.
type filling struct {
	Sessions, Chunks, Lines int
	// Records is how many records the enricher makes of it: those of lines, of what is no whole line,
	// and of each session's start and end.
	Records int
	Bytes   int64
}

// records is how many records the filling becomes.
func (f filling) records() int { return f.Records }

// fill publishes sessions to the TTY stream, at least so many records, their chunks in turns.
// keystrokes makes every frame a chunk, as when people type and nothing else goes on; otherwise
// chunks are full.
func fill(ctx context.Context, b *bus.Bus, key *enrich.Key, seed uint64, sessions, records int, keystrokes bool) (filling, error) {
	all := make([]*filled, sessions)
	for i := range all {
		s, err := newFilled(key, seed+uint64(i), func(op *schema.Operation) error { return b.CreateOperation(ctx, op) })
		if err != nil {
			return filling{}, err
		}
		s.subject = schema.SubjectTTY(s.operation, b.Partitions())
		all[i] = s
	}
	var under []*bus.Publish
	f, err := play(all, records, keystrokes, func(s *filled) error {
		data := schema.AppendChunk(nil, &s.next)
		under = append(under, b.PublishChunk(s.subject, fmt.Sprintf("%s-%d", s.operation.ID, s.next.Ordinal), data))
		if len(under) < publishesAhead {
			return nil
		}
		_, err := under[0].Wait(ctx)
		under = under[1:]
		return err
	}, func(enrich.Segment) error { return nil })
	for _, p := range under {
		if _, e := p.Wait(ctx); err == nil {
			err = e
		}
	}
	return f, err
}

// play plays sessions to their ends, their chunks in turns, until they have so many records. chunk
// is called for each chunk, which is the session's next, and segment for what the enricher makes of
// it.
func play(all []*filled, records int, keystrokes bool, chunk func(*filled) error, segment func(enrich.Segment) error) (filling, error) {
	f := filling{Sessions: len(all)}
	now := time.Now() // of all chunks alike, so that no line is cut since this takes long
	add := func(s *filled, frames ...schema.Frame) error {
		s.next.Frames = frames
		if err := chunk(s); err != nil {
			return err
		}
		if err := s.transcript.Add(&s.next, now); err != nil {
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
		s.next.Ordinal++
		f.Chunks++
		for _, frame := range frames {
			if !frame.Kind.IsOutput() {
				s.next.Events++
				continue
			}
			s.next.Offset[0] += uint64(len(frame.Payload))
			f.Bytes += int64(len(frame.Payload))
			f.Lines += bytes.Count(frame.Payload, []byte("\n"))
		}
		return nil
	}
	for _, s := range all {
		start, err := schema.StartFrame(s.operation.Started, s.operation)
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
				n := full(s.frames)
				if keystrokes {
					n = 1
				} else if n == 0 { // not yet
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

// filled is one session of a filling.
type filled struct {
	operation  *schema.Operation
	subject    string // on the TTY stream; "" where it goes elsewhere
	terminal   *terminal
	transcript *enrich.Transcript // of what was added
	next       schema.Chunk
	frames     []schema.Frame // shown and not added
}

// full is how many of the frames fill a chunk; 0 where they do not.
func full(frames []schema.Frame) int {
	size := 0
	for i, f := range frames {
		if size += len(f.Payload); size >= chunkBytes {
			return i + 1
		}
	}
	return 0
}

// newFilled makes a session. create gives its operation an ID.
func newFilled(key *enrich.Key, seed uint64, create func(*schema.Operation) error) (*filled, error) {
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	document, err := key.Mint("https://auth.example.com", user, time.Now())
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
	s := &filled{operation: op, terminal: t}
	if s.transcript, err = enrich.New(op, key, time.Now()); err != nil {
		return nil, err
	}
	return s, nil
}
