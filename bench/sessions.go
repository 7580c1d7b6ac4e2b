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

// A filling is what was put on the TTY stream.
type filling struct {
	Sessions, Lines, Chunks int
	Bytes                   int64
}

// records is how many records the filling becomes: each line, and each session's start and end.
func (f filling) records() int { return f.Lines + 2*f.Sessions }

// fill publishes sessions to the TTY stream, at least so many lines, their chunks in turns. keystrokes makes every
// frame a chunk, as when people type and nothing else goes on; otherwise chunks are full.
func fill(ctx context.Context, b *bus.Bus, key *enrich.Key, seed uint64, sessions, lines int, keystrokes bool) (filling, error) {
	f := filling{Sessions: sessions}
	var under []*bus.Publish
	publish := func(s *filled, frames ...schema.Frame) error {
		s.next.Frames = frames
		data := schema.AppendChunk(nil, &s.next)
		under = append(under, b.PublishChunk(s.subject, fmt.Sprintf("%s-%d", s.operation.ID, s.next.Ordinal), data))
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
		if len(under) < publishesAhead {
			return nil
		}
		_, err := under[0].Wait(ctx)
		under = under[1:]
		return err
	}

	all := make([]*filled, sessions)
	for i := range all {
		s, err := newFilled(ctx, b, key, seed+uint64(i))
		if err != nil {
			return f, err
		}
		start, err := schema.StartFrame(s.operation.Started, s.operation)
		if err != nil {
			return f, err
		}
		if err := publish(s, start); err != nil {
			return f, err
		}
		all[i] = s
	}
	for f.Lines < lines {
		for _, s := range all {
			s.frames = s.terminal.show(s.frames)
			for len(s.frames) > 0 {
				n := full(s.frames)
				if keystrokes {
					n = 1
				} else if n == 0 { // not yet
					break
				}
				if err := publish(s, s.frames[:n]...); err != nil {
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
		if err := publish(s, append(s.frames, end)...); err != nil {
			return f, err
		}
	}
	for _, p := range under {
		if _, err := p.Wait(ctx); err != nil {
			return f, err
		}
	}
	return f, nil
}

// filled is one session of a filling.
type filled struct {
	operation *schema.Operation
	subject   string
	terminal  *terminal
	next      schema.Chunk
	frames    []schema.Frame // shown and not published
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

func newFilled(ctx context.Context, b *bus.Bus, key *enrich.Key, seed uint64) (*filled, error) {
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	document, err := key.Mint("https://auth.example.com", user, time.Now())
	if err != nil {
		return nil, err
	}
	t := newTerminal(seed)
	op := &schema.Operation{
		Stack: "default", App: "web", AppID: "1234", Service: "web", Layer: "app", Host: "gateway-1", User: user, UserDocument: document,
		Interactive: true, Width: 120, Height: 40, Started: t.at.UTC(), Expires: t.at.Add(7 * 24 * time.Hour).UTC(),
	}
	if err := b.CreateOperation(ctx, op); err != nil {
		return nil, err
	}
	op.Container = "web-" + op.ID
	return &filled{operation: op, subject: schema.SubjectTTY(op, b.Partitions()), terminal: t}, nil
}
