package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/schema"
)

// A tape is a TTY stream under the test's control.
type tape struct {
	t testing.TB
	// answer is called for every publish, and may acknowledge or refuse it, then or later. It is set
	// before use.
	answer func(*attempt)

	mu       sync.Mutex
	attempts []*attempt               // guarded by mu: all publishes, in order
	first    map[string]*attempt      // guarded by mu: the first attempt of each ID
	repeats  map[string]int           // guarded by mu: the number of repeats of each ID
	ordinals map[uint64]*schema.Chunk // guarded by mu: the stored chunks
	stored   []*attempt               // guarded by mu: the stored chunks, in the order of the stream
	whole    [2][]byte                // guarded by mu: the stored bytes before the first missing chunk
	behind   uint64                   // guarded by mu: the ordinal of the next chunk
}

// An attempt is one publish of a chunk.
type attempt struct {
	tape   *tape
	id     string
	data   []byte // belongs to the publisher
	copy   []byte // a copy at the time of the publish
	chunk  schema.Chunk
	repeat int // the number of earlier attempts with its ID
	result chan error
}

func newTape(t testing.TB, answer func(*attempt)) *tape {
	return &tape{t: t, answer: answer, first: make(map[string]*attempt), repeats: make(map[string]int), ordinals: make(map[uint64]*schema.Chunk)}
}

// ackAll acknowledges every publish immediately.
func ackAll(a *attempt) { a.ack() }

// holdAll leaves every publish to the test.
func holdAll(*attempt) {}

func (s *tape) Publish(subject, id string, data []byte) Publish {
	a := &attempt{tape: s, id: id, data: data, copy: bytes.Clone(data), result: make(chan error, 1)}
	if err := schema.DecodeChunk(a.copy, &a.chunk); err != nil {
		s.t.Errorf("chunk %s: %v", id, err)
	}
	if subject != "tty.test" {
		s.t.Errorf("published to %q", subject)
	}
	if len(data) > 900<<10 {
		s.t.Errorf("chunk %s of %d bytes does not fit into a message", id, len(data))
	}
	s.mu.Lock()
	if before := s.first[id]; before == nil {
		s.first[id] = a
	} else {
		s.repeats[id]++
		a.repeat = s.repeats[id]
		if !bytes.Equal(before.copy, a.copy) {
			s.t.Errorf("chunk %s differs when repeated", id)
		}
	}
	s.attempts = append(s.attempts, a)
	s.mu.Unlock()
	s.answer(a)
	return a
}

// PublishEnd is refused if something was stored after last.
func (s *tape) PublishEnd(subject string, last uint64, data []byte) Publish {
	s.mu.Lock()
	between := last != uint64(len(s.stored))
	s.mu.Unlock()
	if between {
		a := &attempt{tape: s, result: make(chan error, 1)}
		a.refuse()
		return a
	}
	return s.Publish(subject, fmt.Sprintf("end behind %d", last), data)
}

// LastChunks returns everything that is stored.
func (s *tape) LastChunks(_ context.Context, _ string, each func(uint64, []byte) error) error {
	s.mu.Lock()
	stored := s.stored
	s.mu.Unlock()
	for i, a := range stored {
		if err := each(uint64(i+1), a.copy); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) Wait(ctx context.Context) error {
	select {
	case err := <-a.result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ack stores the chunk, like a stream that detects a repeat by its ID.
func (a *attempt) ack() {
	s := a.tape
	s.mu.Lock()
	if !bytes.Equal(a.data, a.copy) {
		s.t.Errorf("chunk %s was changed before it was acknowledged", a.id)
	}
	if s.ordinals[a.chunk.Ordinal] == nil {
		s.ordinals[a.chunk.Ordinal] = &a.chunk
		s.stored = append(s.stored, a)
		for c := s.ordinals[s.behind]; c != nil; c = s.ordinals[s.behind] {
			for _, f := range c.Frames {
				if f.Kind.IsOutput() {
					s.whole[f.Kind.Stream()] = append(s.whole[f.Kind.Stream()], f.Payload...)
				}
			}
			s.behind++
		}
	}
	s.mu.Unlock()
	a.result <- nil
}

func (a *attempt) refuse() { a.result <- errors.New("refused by the test") }

// published returns the number of publishes, and the last one.
func (s *tape) published() (n int, last *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = len(s.attempts); n > 0 {
		last = s.attempts[n-1]
	}
	return n, last
}

// recorded returns the acknowledged bytes of a stream before the first missing chunk.
func (s *tape) recorded(stream schema.Stream) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole[stream]
}

// check checks that the stored chunks are complete: consecutive ordinals, offsets and events,
// increasing times, and no event after the end. It returns all frames.
func (s *tape) check() (frames []schema.Frame) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var next schema.Chunk
	for ; s.ordinals[next.Ordinal] != nil; next.Ordinal++ {
		c := s.ordinals[next.Ordinal]
		if c.Offset != next.Offset || c.Events != next.Events || len(c.Frames) == 0 {
			s.t.Errorf("chunk %d: offset %d, events %d, %d frames; expected offset %d, events %d",
				c.Ordinal, c.Offset, c.Events, len(c.Frames), next.Offset, next.Events)
		}
		for _, f := range c.Frames {
			if k := len(frames); k > 0 && frames[k-1].Kind == schema.FrameEnd {
				s.t.Errorf("chunk %d has a frame of kind %d after the end", c.Ordinal, f.Kind)
			}
			if f.Kind.IsOutput() {
				next.Offset[f.Kind.Stream()] += uint64(len(f.Payload))
			} else {
				next.Events++
			}
			frames = append(frames, f)
		}
	}
	if int(next.Ordinal) != len(s.ordinals) {
		s.t.Errorf("chunk %d is missing of %d", next.Ordinal, len(s.ordinals))
	}
	return frames
}

// A screen is the client's end of a stream. It checks at every write that the shown output is
// recorded.
type screen struct {
	tape   *tape
	stream schema.Stream
	take   chan struct{} // if not nil, a write waits to receive from it
	gone   bool          // every write fails

	mu    sync.Mutex
	shown []byte // guarded by mu
}

func (s *screen) Write(b []byte) (int, error) {
	if s.take != nil {
		<-s.take
	}
	if s.gone {
		return 0, io.ErrClosedPipe
	}
	recorded := s.tape.recorded(s.stream)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.HasPrefix(recorded[min(len(s.shown), len(recorded)):], b) {
		s.tape.t.Errorf("%d bytes were shown, and then %d that are not recorded: %.100q", len(s.shown), len(b), b)
	}
	s.shown = append(s.shown, b...)
	return len(b), nil
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.shown)
}

// rig is a capture with its tape and two screens.
type rig struct {
	*capture
	tape *tape
	out  *screen
	err  *screen
}

func newRig(t testing.TB, answer func(*attempt)) *rig {
	s := newTape(t, answer)
	r := &rig{tape: s, out: &screen{tape: s}, err: &screen{tape: s, stream: schema.Stderr}}
	return r
}

// start starts the capture, after its tape and screens were prepared.
func (r *rig) start() *rig {
	r.capture = newCapture(r.tape.t.Context(), r.tape, "tty.test", "7", r.out, r.err, NewMetrics(prometheus.NewRegistry()), new(buffers), nil)
	return r
}

// endFrame returns an end event.
func endFrame() schema.Frame {
	return schema.Frame{Kind: schema.FrameEnd, Payload: []byte(`{"reason":"exit"}`)}
}

// kinds returns the kinds of frames: "o" and "e" for output, and S, R, E, G for events.
func kinds(frames []schema.Frame) string {
	var b strings.Builder
	for _, f := range frames {
		b.WriteByte("oeSREG"[f.Kind])
	}
	return b.String()
}
