package docker

import (
	"io"
	"math"
	"sync"
	"time"
)

const (
	// spoolBytes is the number of bytes read ahead of the session, for both streams together.
	spoolBytes = 1 << 20
	// heldBytes is the limit while the container is being paused.
	heldBytes = 64 << 20
	// stallTime is the time after which the container is paused if the spool is full and the
	// session reads less than stallBytes. The daemon waits eight times as long for a reader of the
	// output, and then discards the rest.
	stallTime  = 250 * time.Millisecond
	stallBytes = spoolBytes / 2
)

// spool holds the output of a container that was read from the daemon and not yet by the session.
//
// The daemon buffers about one MiB for a slow reader, and the kernel's pipes some more. Their
// content is lost if it is not read within two seconds after the last process has ended, and
// nothing announces that end. So the daemon's output must be read without long breaks, and the
// program is held back by other means: by pausing its container.
type spool struct {
	// pause pauses or resumes the container; ended reports that it can no longer be paused because
	// it has ended.
	pause func(still bool) (ended bool, err error)
	// complain reports that the container can't be paused, and why.
	complain func(error)

	mu      sync.Mutex
	change  sync.Cond // of mu: any field has changed
	streams [2][]byte // guarded by mu: stdout, stderr; owned
	limit   int       // guarded by mu: the daemon's reader waits while the spool has this many bytes
	taken   int       // guarded by mu: number of bytes the session has read
	watched bool      // guarded by mu: watch is scheduled or running
	over    bool      // guarded by mu: the container has ended or is being killed
	closed  bool      // guarded by mu: no more output arrives
	failed  error     // guarded by mu: why the container could not be paused
	dropped func()    // guarded by mu: called when stdout is discarded; nil if it is kept
}

func newSpool(pause func(bool) (bool, error), complain func(error)) *spool {
	s := &spool{pause: pause, complain: complain, limit: spoolBytes}
	s.change.L = &s.mu
	return s
}

func (s *spool) size() int { return len(s.streams[0]) + len(s.streams[1]) }

// write adds output that was read from the daemon. It is called by one goroutine.
func (s *spool) write(stream int, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size() >= s.limit && !s.drops(stream) {
		if s.failed != nil { // not because it ended: so much cannot have been in transit
			s.complain(s.failed)
			s.failed = nil
		}
		if !s.watched && s.limit == spoolBytes {
			s.watched = true
			before := s.taken
			time.AfterFunc(stallTime, func() { s.watch(before) })
		}
		s.change.Wait()
	}
	if s.drops(stream) {
		s.dropped()
		return
	}
	s.streams[stream] = append(s.streams[stream], p...)
	s.change.Broadcast()
}

// watch is called stallTime after the daemon's reader had to wait, when before bytes had been
// taken. If the session reads too slowly for the daemon's buffer to be read in time, watch pauses
// the container until the session has caught up. Meanwhile the output in transit is read.
func (s *spool) watch(before int) {
	s.mu.Lock()
	s.watched = false
	if s.taken-before >= stallBytes || s.size() < stallBytes || s.limit != spoolBytes {
		s.mu.Unlock()
		return // fast enough, caught up, or ended
	}
	s.limit = heldBytes
	s.change.Broadcast()
	s.mu.Unlock()
	_, err := s.pause(true)
	s.mu.Lock()
	if err != nil { // it has probably just ended: its remaining output must be read
		s.failed = err
		s.mu.Unlock()
		return
	}
	for s.size() > stallBytes && !s.over {
		s.change.Wait()
	}
	s.mu.Unlock()
	for ended, err := s.pause(false); err != nil && !ended; ended, err = s.pause(false) {
		time.Sleep(stallTime) // between attempts, which end with the session
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.limit = spoolBytes
	}
}

// drops reports whether a stream is discarded. The caller holds mu.
func (s *spool) drops(stream int) bool { return stream == 0 && s.dropped != nil }

// discard discards stdout, existing and future, and calls dropped with the spool locked when more
// arrives. For the session, stdout has ended.
func (s *spool) discard(dropped func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[0], s.dropped = nil, dropped
	s.change.Broadcast()
}

// drain is called when the container has ended or is being killed: the rest is read at once. After
// the end it is not much.
func (s *spool) drain(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.limit = true, heldBytes
	if ended {
		s.limit = math.MaxInt
	}
	s.change.Broadcast()
}

// close marks the end of the output.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change.Broadcast()
}

// spoolWriter and spoolReader are the two ends of a spool's stream.
type (
	spoolWriter struct {
		spool  *spool
		stream int
	}
	spoolReader struct {
		spool  *spool
		stream int
	}
)

func (w spoolWriter) Write(p []byte) (int, error) {
	w.spool.write(w.stream, p)
	return len(p), nil
}

func (r spoolReader) Read(p []byte) (int, error) {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.streams[r.stream]) == 0 && !s.closed && !s.drops(r.stream) {
		s.change.Wait()
	}
	if len(s.streams[r.stream]) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.streams[r.stream])
	s.taken += n
	if s.streams[r.stream] = s.streams[r.stream][n:]; len(s.streams[r.stream]) == 0 {
		s.streams[r.stream] = nil // do not retain what was read
	}
	s.change.Broadcast()
	return n, nil
}
