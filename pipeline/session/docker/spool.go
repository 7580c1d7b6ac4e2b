package docker

import (
	"io"
	"math"
	"sync"
	"time"
)

const (
	// spoolBytes is how much is read ahead of the session, of both streams together.
	spoolBytes = 1 << 20
	// heldBytes is how much of it there may be while the container is being paused.
	heldBytes = 64 << 20
	// stallTime is how long the session may take less than stallBytes, while as much as there may be
	// is read, before the container is paused. The daemon waits eight times as long for who reads its
	// output, and then throws away what is left.
	stallTime  = 250 * time.Millisecond
	stallBytes = spoolBytes / 2
)

// A spool is the output of a container that was read from the daemon, and not by the session yet.
//
// The daemon keeps about a mebibyte for a reader that is behind, and the kernel's pipes some more.
// What is left in these when the last process has ended is lost, if it is not read within two
// seconds. Nothing tells of that end before. So who reads from the daemon must not stand still for
// long, and the program is held back by other means: by pausing its container.
type spool struct {
	// pause has the container stand still, or go on again; ended is that there is nothing to pause any
	// more.
	pause func(still bool) (ended bool, err error)
	// complain tells that it can't be paused, and why.
	complain func(error)

	mu      sync.Mutex
	change  sync.Cond // of mu: anything has changed
	streams [2][]byte // guarded by mu: stdout, stderr; owned
	limit   int       // guarded by mu: who reads from the daemon waits at that many bytes
	taken   int       // guarded by mu: how many bytes the session has read
	watched bool      // guarded by mu: watch is under way
	over    bool      // guarded by mu: the container has ended, or is being killed
	closed  bool      // guarded by mu: nothing more comes
	failed  error     // guarded by mu: why the container could not be paused
	dropped func()    // guarded by mu: called for what comes on stdout, which is dropped; nil where it is kept
}

func newSpool(pause func(bool) (bool, error), complain func(error)) *spool {
	s := &spool{pause: pause, complain: complain, limit: spoolBytes}
	s.change.L = &s.mu
	return s
}

func (s *spool) size() int { return len(s.streams[0]) + len(s.streams[1]) }

// write takes what was read from the daemon. One goroutine calls it.
func (s *spool) write(stream int, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size() >= s.limit && !s.drops(stream) {
		if s.failed != nil { // and not because it has ended: so much can't have been on its way
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

// watch is called stallTime after who reads from the daemon had to wait, when before bytes were
// taken. Where the session takes so little that what the daemon has left would not come in time, it
// pauses the container until the session has caught up. Meanwhile what is on its way is read.
func (s *spool) watch(before int) {
	s.mu.Lock()
	s.watched = false
	if s.taken-before >= stallBytes || s.size() < stallBytes || s.limit != spoolBytes {
		s.mu.Unlock()
		return // it takes enough, or has caught up, or the container has ended
	}
	s.limit = heldBytes
	s.change.Broadcast()
	s.mu.Unlock()
	_, err := s.pause(true)
	s.mu.Lock()
	if err != nil { // it has just ended, most likely: what it has left must be read
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

// drops reports whether a stream is dropped. mu is held.
func (s *spool) drops(stream int) bool { return stream == 0 && s.dropped != nil }

// discard drops what there is of stdout, and what comes from now on, for which it calls dropped
// with the spool locked. To the session, stdout has ended.
func (s *spool) discard(dropped func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[0], s.dropped = nil, dropped
	s.change.Broadcast()
}

// drain says that the container has ended, or is being killed: what is left is read at once. Of one
// that has ended that is not much.
func (s *spool) drain(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.limit = true, heldBytes
	if ended {
		s.limit = math.MaxInt
	}
	s.change.Broadcast()
}

// close says that nothing more comes.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change.Broadcast()
}

// spoolWriter and spoolReader are the ends of one stream of a spool.
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
		s.streams[r.stream] = nil // not to hold on to what was read
	}
	s.change.Broadcast()
	return n, nil
}
