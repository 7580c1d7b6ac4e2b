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
	// chunkBytes is the size at which a chunk is full and published at once.
	chunkBytes = 32 << 10
	// largeChunkBytes is the same limit while more than one chunk is in flight, or while there is
	// much output: each chunk is stored, acknowledged and enriched separately, so fewer and larger
	// ones are faster. A chunk exceeds it by one frame at most, and stays below the maximum message
	// size.
	largeChunkBytes = 256 << 10
	// chunkDelay is the time that bytes wait for more while an earlier chunk is in flight, or while
	// there is much output. Otherwise they are published immediately, to keep the echo fast.
	chunkDelay = 4 * time.Millisecond
	// There is much output if a chunk of flowBytes was published less than flowDelay ago. Without
	// this wait, a fast disk makes a chunk of each read from the terminal, with the full cost of a
	// chunk, and a program with much output gets less CPU time.
	flowBytes = 2 << 10
	flowDelay = 2 * chunkDelay
	// windowBytes limits the output that is recorded and not yet shown because the client is slow,
	// counting frameBytes for each frame. Beyond it, the program is held back.
	windowBytes = 512 << 10
	// aheadBytes limits the output that was read from the terminal and not yet shown. It exceeds
	// what the disk can write while a chunk is on its way to it, so that the disk never waits for
	// the program.
	aheadBytes = 2 << 20
	// frameBytes is the approximate memory of a frame besides its payload. It holds back a program
	// that writes single bytes, or a client that resizes its window all the time.
	frameBytes = 128
	// recordGrace is the time for which the stream may refuse chunks before the session ends. It
	// applies to all chunks in flight together: each of them is stored within recordGrace after the
	// first refusal among them, or never. So the enricher, which waits longer for a chunk whose
	// successor is stored, never reports a chunk as lost that is acknowledged later.
	recordGrace = 10 * time.Second
)

// errNotRecorded is the cause of ending a session that can no longer be recorded.
var errNotRecorded = errors.New("the stream has accepted no output for too long")

// errOutputEnded is returned when output is read that is no longer recorded, because the session
// was ended for exceeding its output limit.
var errOutputEnded = errors.New("the session was ended for exceeding its output limit")

// Publisher writes an operation's chunks to the TTY stream.
type Publisher interface {
	// Publish sends a chunk without waiting for the acknowledgement. Retries of a chunk have the
	// same id. The publisher owns data until Wait has returned.
	Publish(subject, id string, data []byte) Publish
	// PublishEnd sends a chunk that is stored only if the last message on the subject has the
	// sequence last (0: no message). It is used for ends that are recorded later.
	PublishEnd(subject string, last uint64, data []byte) Publish
}

// Publish is a chunk in flight.
type Publish interface {
	// Wait waits until the chunk is durably recorded, or returns the reason why it may not be.
	// Without an answer it fails after some seconds. It is called once.
	Wait(ctx context.Context) error
}

// capture records the output of a session and then shows it: no byte reaches the client before the
// stream has acknowledged it.
//
// Bytes pass through three goroutines in this order: publish (makes chunks of the output), confirm
// (waits for the acknowledgements) and show (writes to the client). Each ends when it has processed
// everything up to finish, or when ctx is done.
type capture struct {
	ctx       context.Context // done when the session can no longer be recorded
	cancel    context.CancelCauseFunc
	publisher Publisher
	subject   string
	operation string
	client    [2]io.Writer // by stream
	metrics   *Metrics
	buffers   *buffers
	output    *output // limits what is read; nil for no limit

	confirming chan sent     // published, in order
	wake       chan struct{} // of cap 1: something that publish waits for has changed
	done       chan struct{} // closed when everything was shown, or given up
	recorded   chan struct{} // closed when everything was acknowledged, or given up
	unbound    chan struct{} // closed by release: output is no longer held back
	release    func()        // may be called repeatedly

	mu sync.Mutex
	// change, of mu, signals that window, unshown or inFlight has decreased, or that showing,
	// confirmed, closed, expedited or ctx has changed.
	change sync.Cond

	frames     []schema.Frame // guarded by mu: read and not yet published; owns the payloads
	bytes      int            // guarded by mu: in frames
	flowed     time.Time      // guarded by mu: when the last chunk of flowBytes was taken
	oldest     time.Time      // guarded by mu: when the first of frames was read
	window     int            // guarded by mu: bytes read and not yet shown, see aheadBytes
	unshown    int            // guarded by mu: bytes recorded and not yet shown, see windowBytes
	inFlight   int            // guarded by mu: chunks published and not yet acknowledged
	refused    time.Time      // guarded by mu: first refusal of a chunk in flight: until none is in flight, none is published
	closed     bool           // guarded by mu: finish was called
	expedited  bool           // guarded by mu: expedite was called
	dropOutput bool           // guarded by mu: nothing more is shown, see pass
	next       schema.Chunk   // guarded by mu: ordinal, offsets and events of the next chunk
	showing    []sent         // guarded by mu: acknowledged and not yet taken by show, in order
	confirmed  bool           // guarded by mu: nothing more is added to showing
}

// sent is a published chunk.
type sent struct {
	chunk schema.Chunk // its payloads alias data
	// data belongs to the publisher until it is acknowledged and then to show, which recycles it
	// unless it was published repeatedly.
	data     []byte
	id       string
	publish  Publish
	repeated bool
}

// size returns the amount by which the chunk counts in window and unshown.
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
	c.change.L = &c.mu
	// The end of the session does not end the recording: only stop does.
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go c.publish()
	go c.confirm()
	go c.show()
	return c
}

// read records and shows everything that r returns, until it ends.
func (c *capture) read(stream schema.Stream, r io.Reader) error {
	kind := schema.FrameStdout
	if stream == schema.Stderr {
		kind = schema.FrameStderr
	}
	// A terminal never fills this buffer: only a pipe gets a larger one.
	buffer := make([]byte, smallBuffer) // write copies its content
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

// write records bytes that a terminal is about to show; the caller keeps ownership of b. It blocks
// while the client is slow, and returns false if nothing more can be recorded: after finish or
// stop.
func (c *capture) write(kind schema.FrameKind, b []byte) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.wait() || c.closed {
		return false
	}
	c.window += len(b)
	c.bytes += len(b)
	// Bytes that arrive within a millisecond share a frame: the difference is not visible, and a
	// terminal returns large output in small pieces.
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
	// Wake publish only for the first bytes, which start its timer, and when a chunk is full.
	if first || c.bytes >= c.full(now) {
		c.signal()
	}
	return true
}

// flows reports whether there is much output. The caller holds mu.
func (c *capture) flows(now time.Time) bool { return now.Sub(c.flowed) < flowDelay }

// full returns the size at which a chunk is full. The caller holds mu.
func (c *capture) full(now time.Time) int {
	if c.inFlight > 1 || c.flows(now) {
		return largeChunkBytes
	}
	return chunkBytes
}

// wait waits while the client is slow; it returns false if nothing more can be recorded. The caller
// holds mu.
func (c *capture) wait() bool {
	for (c.unshown >= windowBytes || c.window >= aheadBytes) && !c.expedited && !c.closed && c.ctx.Err() == nil {
		c.change.Wait()
	}
	return c.ctx.Err() == nil
}

// event records an event after the output so far, unless finish was called. It blocks while the
// client is slow.
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
	c.change.Broadcast()
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

// expedite is called when the session was ended: recording no longer waits for the client to
// receive earlier output. It may be called repeatedly.
func (c *capture) expedite() {
	c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expedited = true
	c.change.Broadcast()
}

// stop gives up everything that is not recorded yet.
func (c *capture) stop(cause error) {
	c.cancel(cause)
	c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change.Broadcast()
}

// take returns the next chunk, or the time to wait until it is worth publishing: 0 means until
// something changes. last reports that no chunk follows.
func (c *capture) take(now time.Time) (chunk schema.Chunk, ok, last bool, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 || !c.refused.IsZero() {
		return schema.Chunk{}, false, c.closed && len(c.frames) == 0, 0
	}
	if c.bytes < c.full(now) && (c.inFlight > 0 || c.flows(now)) && !c.closed {
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
		c.frames = nil // do not retain the frames of the chunk
	}
	c.oldest = time.Time{} // the rest has waited long enough
	if size >= flowBytes {
		c.flowed = now
	}
	c.inFlight++
	c.next.Ordinal++
	return chunk, true, false, 0
}

// publish ends after finish, when everything is published, or when ctx is done.
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

// encode returns the chunk's message, and makes the payloads of its frames alias it.
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
			if err := c.retryPublish(s, err); err != nil {
				c.stop(fmt.Errorf("%w: %w", errNotRecorded, err))
				return
			}
		}
		c.measure(&s.chunk)
		c.pass(s)
		c.signal()
	}
}

// pass hands a recorded chunk to show. If the session was ended and the client accepts no output,
// the rest is recorded and not shown.
func (c *capture) pass(s sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight--; c.inFlight == 0 {
		c.refused = time.Time{}
	}
	if c.dropOutput = c.dropOutput || c.expedited && c.unshown >= windowBytes; c.dropOutput {
		c.window -= s.size()
	} else {
		c.unshown += s.size()
		c.showing = append(c.showing, s)
	}
	c.change.Broadcast()
}

func (c *capture) confirmedAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = true
	c.change.Broadcast()
}

// measure updates the metrics for a recorded chunk.
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

// retryPublish repeats a refused publish until it is acknowledged. At recordGrace after the first
// refusal of a chunk in flight, it gives up and returns the reason of the last refusal. Later
// chunks in flight may be stored before this one: readers reorder them. No others are published
// before all in flight are stored, because if this one is never stored, each later stored one
// causes a gap.
func (c *capture) retryPublish(s sent, refused error) error {
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

// firstRefused returns the time of the first refusal of a chunk in flight; it is now if there was
// none.
func (c *capture) firstRefused() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused.IsZero() {
		c.refused = time.Now()
	}
	return c.refused
}

// show ends after confirm. It stops writing to a client that is gone, while recording continues.
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
		if !s.repeated { // the publisher may still hold the first attempt's data
			c.buffers.put(s.data)
		}
		c.mu.Lock()
		c.window -= size
		c.unshown -= size
		c.change.Broadcast()
		c.mu.Unlock()
	}
}

// shown waits for the next chunk to show; ok is false if none follows.
func (c *capture) shown() (s sent, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.showing) == 0 && !c.confirmed {
		c.change.Wait()
	}
	if len(c.showing) == 0 {
		return sent{}, false
	}
	s = c.showing[0]
	c.showing[0] = sent{} // do not retain recycled memory
	if c.showing = c.showing[1:]; len(c.showing) == 0 {
		c.showing = nil // do not keep the memory of a backlog forever
	}
	return s, true
}

// settle waits until everything written so far is recorded.
func (c *capture) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.frames) > 0 || c.inFlight > 0) && c.ctx.Err() == nil {
		c.change.Wait()
	}
	return context.Cause(c.ctx)
}

// total returns the number of bytes that are recorded or in flight.
func (c *capture) total() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next.Offset[0] + c.next.Offset[1]
}
