package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// chunkBytes is how many bytes make a chunk full: it is published at once.
	chunkBytes = 32 << 10
	// largeChunkBytes is the same while more than one chunk is being published, or while there is much
	// output: each is stored, acknowledged and enriched by itself, so that fewer and larger ones are
	// quicker. It is the most that a chunk has, with one frame more, and less than a message may have.
	largeChunkBytes = 256 << 10
	// chunkDelay is how long bytes wait for more while an earlier chunk is being published, or while
	// there is much output. Otherwise they do not wait at all, so that an echo is not late.
	chunkDelay = 4 * time.Millisecond
	// There is much output when a chunk of flowBytes was taken less than flowDelay ago. Without the
	// wait, a disk that is quick has each read of the terminal made a chunk, with all that every chunk
	// costs, and a program that shows a lot gets less of the processor.
	flowBytes = 2 << 10
	flowDelay = 2 * chunkDelay
	// windowBytes is how much may be recorded and not be shown yet, with frameBytes for each frame:
	// the client is behind. The program is held back beyond it.
	windowBytes = 512 << 10
	// aheadBytes is the same of all that was read from the terminal and not shown yet. It is more than
	// the disk can take in the time that a chunk is on its way there, so that it never waits for the
	// program.
	aheadBytes = 2 << 20
	// frameBytes is about how much memory a frame takes besides its payload: a program that shows a
	// byte at a time, or a client that changes its window all the time, is held back as well.
	frameBytes = 128
	// recordGrace is how long the stream may refuse chunks before the session ends. It holds for
	// all chunks in flight together: each of them is stored within recordGrace after the first of
	// them was found to be refused, or not at all, so that the enricher, which waits longer for a
	// chunk whose successor is stored, never takes a chunk for lost that is acknowledged later.
	recordGrace = 10 * time.Second
)

// errNotRecorded is the cause with which a session ends that can't be recorded any more.
var errNotRecorded = errors.New("the stream has taken no output for too long")

// errOutputEnded is the error of reading output that is not recorded any more, since the session
// was ended for the amount of it.
var errOutputEnded = errors.New("the session was ended for the amount of its output")

// A Publisher writes an operation's chunks to the TTY stream.
type Publisher interface {
	// Publish sends a chunk without waiting for it. A repeat of a chunk has the same id. The data are
	// the publisher's until Wait has returned.
	Publish(subject, id string, data []byte) Publish
	// PublishEnd sends a chunk that is stored only where the last message on the subject has the
	// sequence last (0: there is none). It is for ends that are recorded later.
	PublishEnd(subject string, last uint64, data []byte) Publish
}

// A Publish is a chunk under way.
type Publish interface {
	// Wait waits until the chunk is recorded durably, or gives the reason why it may not be. It does
	// not wait for ever: after some seconds without an answer, that is the reason. It is called once.
	Wait(ctx context.Context) error
}

// capture records what the terminal shows, and then shows it: no byte reaches the client before the
// stream has acknowledged it.
//
// Bytes go through three goroutines, in order: publish (makes chunks of what was read), confirm
// (waits for the acknowledgements) and show (writes to the client). Each ends when it has passed on
// what there was at finish, or when ctx is done.
type capture struct {
	ctx       context.Context // done when the session can't be recorded any more
	cancel    context.CancelCauseFunc
	publisher Publisher
	subject   string
	operation string
	client    [2]io.Writer // by stream
	metrics   *Metrics
	buffers   *buffers
	output    *output // bounds what is read; nil for no bounds

	confirming chan sent     // published, in order
	wake       chan struct{} // of cap 1: something that publish waits for has changed
	done       chan struct{} // closed when everything was shown, or given up
	recorded   chan struct{} // closed when everything was acknowledged, or given up
	unbound    chan struct{} // closed by release: output is not held back any more
	release    func()        // may be called again

	mu        sync.Mutex
	room      sync.Cond      // of mu: window, behind or flying has become smaller, or showing, confirmed, closed, hurry or ctx has changed
	frames    []schema.Frame // guarded by mu: read and not published; owns the payloads
	bytes     int            // guarded by mu: in frames
	flowed    time.Time      // guarded by mu: when a chunk of flowBytes was taken
	oldest    time.Time      // guarded by mu: when the first of frames was read
	window    int            // guarded by mu: what was read and not shown, see aheadBytes
	behind    int            // guarded by mu: what was recorded and not shown, see windowBytes
	flying    int            // guarded by mu: chunks published and not acknowledged
	refused   time.Time      // guarded by mu: when a chunk in flight was first refused, until none is in flight: meanwhile nothing is published
	closed    bool           // guarded by mu: finish was called
	hurry     bool           // guarded by mu: rush was called
	deaf      bool           // guarded by mu: nothing more is shown, see pass
	next      schema.Chunk   // guarded by mu: ordinal, offsets and events of the next chunk
	showing   []sent         // guarded by mu: acknowledged and not taken by show, in order
	confirmed bool           // guarded by mu: nothing comes to showing any more
}

// sent is a chunk that was published.
type sent struct {
	chunk schema.Chunk // whose payloads are in data
	// data are the publisher's until it is acknowledged, then show's, and after that free to be used
	// again, unless it was repeated.
	data     []byte
	id       string
	publish  Publish
	repeated bool
}

// size is what it counts for in window and behind.
func (s *sent) size() (size int) {
	for i := range s.chunk.Frames {
		size += len(s.chunk.Frames[i].Payload) + frameBytes
	}
	return size
}

func newCapture(ctx context.Context, p Publisher, subject, operation string, stdout, stderr io.Writer, metrics *Metrics, b *buffers, o *output) *capture {
	c := &capture{
		publisher: p, subject: subject, operation: operation, client: [2]io.Writer{stdout, stderr}, metrics: metrics, buffers: b, output: o,
		confirming: make(chan sent, 8),
		wake:       make(chan struct{}, 1), done: make(chan struct{}), recorded: make(chan struct{}), unbound: make(chan struct{}),
	}
	c.release = sync.OnceFunc(func() { close(c.unbound) })
	c.room.L = &c.mu
	// The end of the session is not the end of its recording: only stop is.
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go c.publish()
	go c.confirm()
	go c.show()
	return c
}

// read records and shows all that r gives, until it ends.
func (c *capture) read(stream schema.Stream, r io.Reader) error {
	kind := schema.FrameStdout
	if stream == schema.Stderr {
		kind = schema.FrameStderr
	}
	// A terminal gives less at a time than fills it: only what comes through a pipe gets more.
	buffer := make([]byte, smallBuffer) // write copies out of it
	for {
		n, err := r.Read(buffer)
		if n > 0 && !c.output.wait(c.unbound, n) {
			return errOutputEnded
		}
		if n > 0 && !c.write(kind, buffer[:n]) {
			return context.Cause(c.ctx)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the session's output: %w", err)
		}
		if n == smallBuffer {
			buffer = make([]byte, chunkBytes)
		}
	}
}

// write takes bytes that a terminal is about to show; they stay the caller's. It blocks while the
// client is behind, and is false when nothing can be recorded any more: after finish, or stop.
func (c *capture) write(kind schema.FrameKind, b []byte) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.wait() || c.closed {
		return false
	}
	c.window += len(b)
	c.bytes += len(b)
	// What arrives within a millisecond is one frame: nobody sees the difference, and a terminal
	// gives a large output in small pieces.
	first := len(c.frames) == 0
	if k := len(c.frames) - 1; k >= 0 && c.frames[k].Kind == kind && len(c.frames[k].Payload)+len(b) <= frameBuffer &&
		now.UnixNano()-c.frames[k].Time < int64(time.Millisecond) {
		f := &c.frames[k]
		if all := len(f.Payload) + len(b); all > cap(f.Payload) && all > smallBuffer {
			f.Payload = append(c.buffers.get(frameBuffer), f.Payload...)
		}
		f.Payload = append(f.Payload, b...)
	} else {
		c.add(schema.Frame{Kind: kind, Time: now.UnixNano(), Payload: append(c.buffers.get(max(len(b), 64)), b...)}, now)
	}
	// What comes between is not worth waking publish for: it has set its clock by the first.
	if first || c.bytes >= c.full(now) {
		c.signal()
	}
	return true
}

// flows says that there is much output. mu is held.
func (c *capture) flows(now time.Time) bool { return now.Sub(c.flowed) < flowDelay }

// full is how many bytes make a chunk full. mu is held.
func (c *capture) full(now time.Time) int {
	if c.flying > 1 || c.flows(now) {
		return largeChunkBytes
	}
	return chunkBytes
}

// wait waits while the client is behind; it is false when nothing can be recorded any more. mu is
// held.
func (c *capture) wait() bool {
	for (c.behind >= windowBytes || c.window >= aheadBytes) && !c.hurry && !c.closed && c.ctx.Err() == nil {
		c.room.Wait()
	}
	return c.ctx.Err() == nil
}

// event records an event behind the output so far; after finish there is none. It blocks while the
// client is behind.
func (c *capture) event(f schema.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wait() && !c.closed {
		c.window += len(f.Payload)
		c.add(f, time.Now())
		c.signal()
	}
}

// finish records the last event.
func (c *capture) finish(end schema.Frame) {
	c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window += len(end.Payload)
	c.add(end, time.Now())
	c.closed = true
	c.room.Broadcast()
	c.signal()
}

func (c *capture) add(f schema.Frame, now time.Time) {
	if len(c.frames) == 0 {
		c.oldest = now
	}
	c.window += frameBytes
	c.frames = append(c.frames, f)
}

func (c *capture) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// rush says that the session was ended: what is still to be recorded no longer waits for the client
// to take what came before. It may be called again.
func (c *capture) rush() {
	c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry = true
	c.room.Broadcast()
}

// stop gives up on everything that is not recorded yet.
func (c *capture) stop(cause error) {
	c.cancel(cause)
	c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room.Broadcast()
}

// take gives the next chunk, or how long to wait for it to be worth publishing: 0 for as long as
// nothing changes. last says that none follows.
func (c *capture) take(now time.Time) (chunk schema.Chunk, ok, last bool, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 || !c.refused.IsZero() {
		return schema.Chunk{}, false, c.closed && len(c.frames) == 0, 0
	}
	if c.bytes < c.full(now) && (c.flying > 0 || c.flows(now)) && !c.closed {
		if wait = chunkDelay - now.Sub(c.oldest); wait > 0 {
			return schema.Chunk{}, false, false, wait
		}
	}
	chunk = c.next
	n, size := 0, 0
	for n < len(c.frames) && size < largeChunkBytes {
		f := &c.frames[n]
		if f.Kind.IsOutput() {
			c.next.Offset[f.Kind.Stream()] += uint64(len(f.Payload))
			c.bytes -= len(f.Payload)
		} else {
			c.next.Events++
		}
		size += len(f.Payload)
		n++
	}
	chunk.Frames = c.frames[:n:n]
	if c.frames = c.frames[n:]; len(c.frames) == 0 {
		c.frames = nil // not to hold on to what is in the chunk
	}
	c.oldest = time.Time{} // what is left has waited long enough
	if size >= flowBytes {
		c.flowed = now
	}
	c.flying++
	c.next.Ordinal++
	return chunk, true, false, 0
}

// publish ends when finish was called and all is published, or when ctx is done.
func (c *capture) publish() {
	defer close(c.confirming)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		chunk, ok, last, wait := c.take(time.Now())
		if ok {
			s := sent{chunk: chunk, data: c.encode(&chunk), id: c.operation + "-" + strconv.FormatUint(chunk.Ordinal, 10)}
			s.publish = c.publisher.Publish(c.subject, s.id, s.data)
			select {
			case c.confirming <- s:
				continue
			case <-c.ctx.Done():
				return
			}
		}
		if last {
			return
		}
		var after <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			after = timer.C
		}
		select {
		case <-c.wake:
		case <-after:
		case <-c.ctx.Done():
			return
		}
	}
}

// encode gives the chunk's message, and has the payloads of its frames be those in it.
func (c *capture) encode(chunk *schema.Chunk) []byte {
	size := schema.ChunkOverhead(len(chunk.Frames))
	for i := range chunk.Frames {
		size += len(chunk.Frames[i].Payload)
	}
	data := schema.AppendChunk(c.buffers.get(size), chunk)
	for i := range chunk.Frames {
		c.buffers.put(chunk.Frames[i].Payload)
	}
	if err := schema.DecodeChunk(data, chunk); err != nil {
		panic(err) // it was encoded above
	}
	return data
}

// confirm ends after publish.
func (c *capture) confirm() {
	defer close(c.recorded)
	defer c.confirmedAll()
	for s := range c.confirming {
		if err := s.publish.Wait(c.ctx); err != nil {
			s.repeated = true
			if err := c.again(s, err); err != nil {
				c.stop(fmt.Errorf("%w: %w", errNotRecorded, err))
				return
			}
		}
		c.measure(&s.chunk)
		c.pass(s)
		c.signal()
	}
}

// pass gives a chunk that is recorded to show. Where the session was ended and the client takes
// nothing, what follows is recorded and not shown.
func (c *capture) pass(s sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flying--; c.flying == 0 {
		c.refused = time.Time{}
	}
	if c.deaf = c.deaf || c.hurry && c.behind >= windowBytes; c.deaf {
		c.window -= s.size()
	} else {
		c.behind += s.size()
		c.showing = append(c.showing, s)
	}
	c.room.Broadcast()
}

func (c *capture) confirmedAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = true
	c.room.Broadcast()
}

// measure counts a chunk that is recorded.
func (c *capture) measure(chunk *schema.Chunk) {
	shown := 0
	for i := range chunk.Frames {
		if f := &chunk.Frames[i]; f.Kind.IsOutput() {
			if shown == 0 {
				measure.Since(c.metrics.captured, time.Unix(0, f.Time))
			}
			shown += len(f.Payload)
		}
	}
	c.metrics.bytes.Add(float64(shown))
	c.output.passed(shown)
}

// again repeats a publish that was refused until it is acknowledged. Where that takes until
// recordGrace after the first refusal of a chunk in flight, it returns the reason of the last
// refusal. Later chunks in flight may be stored before it: readers put them in order. No others are
// published before all in flight are stored: if this one is never stored, each stored later one is
// a gap.
func (c *capture) again(s sent, refused error) error {
	ctx, cancel := context.WithDeadline(c.ctx, c.firstRefused().Add(recordGrace))
	defer cancel()
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond),
		backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(0))
	err := backoff.Retry(func() error {
		err := c.publisher.Publish(c.subject, s.id, s.data).Wait(ctx)
		if err != nil && ctx.Err() == nil {
			refused = err
		}
		return err
	}, backoff.WithContext(retry, ctx))
	if err != nil {
		return refused
	}
	return nil
}

// firstRefused returns when the first of the chunks in flight was refused, which is now if none
// was.
func (c *capture) firstRefused() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused.IsZero() {
		c.refused = time.Now()
	}
	return c.refused
}

// show ends after confirm. A client that is gone is written to no more, while recording goes on.
func (c *capture) show() {
	defer close(c.done)
	gone := false
	for {
		s, ok := c.shown()
		if !ok {
			return
		}
		for _, f := range s.chunk.Frames {
			if gone || !f.Kind.IsOutput() {
				continue
			}
			if _, err := c.client[f.Kind.Stream()].Write(f.Payload); err != nil {
				gone = true
			}
		}
		size := s.size()
		if !s.repeated { // the publisher may have the first one still
			c.buffers.put(s.data)
		}
		c.mu.Lock()
		c.window -= size
		c.behind -= size
		c.room.Broadcast()
		c.mu.Unlock()
	}
}

// shown waits for the next chunk to show; ok is false where none follows.
func (c *capture) shown() (s sent, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.showing) == 0 && !c.confirmed {
		c.room.Wait()
	}
	if len(c.showing) == 0 {
		return sent{}, false
	}
	s = c.showing[0]
	c.showing[0] = sent{} // whose memory is used again
	if c.showing = c.showing[1:]; len(c.showing) == 0 {
		c.showing = nil // a client that was behind once need not cost memory for ever
	}
	return s, true
}

// settle waits until all that was written so far is recorded.
func (c *capture) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.frames) > 0 || c.flying > 0) && c.ctx.Err() == nil {
		c.room.Wait()
	}
	return context.Cause(c.ctx)
}

// total counts the bytes that were recorded or are on their way.
func (c *capture) total() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next.Offset[0] + c.next.Offset[1]
}
