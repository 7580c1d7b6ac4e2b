package bus

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Writers are how many goroutines mostly wait for the disk at a time where nobody is told of what
// is not on it: those that sync the streams TTY and LOGS.
const Writers = 2

// A need is what something is written for: each leaves part of the reserve to those behind it, so
// that a disk that fills ends the sessions first, lets what they showed go on to the drains for
// longer, and can note what was done last.
type need uint64

const (
	forSessions    need = 1 // their output, and new ones: all of the reserve is left
	forDelivery    need = 2 // segments and dead letters: a half is left
	forBookkeeping need = 4 // positions, ends of sessions, operators' wishes: a quarter is left
)

const (
	// reservePart of a disk is the reserve, between the bounds behind it.
	reservePart  = 20
	reserveLeast = 4 << 20
	reserveMost  = 256 << 20
	// lookAfter is how long an answer about the free space is good for, and lookBytes for how much
	// written meanwhile.
	lookAfter = 50 * time.Millisecond
	lookBytes = 512 << 10
	// refusedFor is how long what was refused once is refused again. Where the free space comes and
	// goes, later chunks of a session would be stored, and those before them not; so all wait, and are
	// repeated in their order.
	refusedFor = time.Second
)

// A disk is the file system that the embedded server's files are on. ttydrain does not fill it: a
// stream that meets the end of a disk takes nothing more until its server is started again.
type disk struct {
	dir string

	mu      sync.Mutex
	looked  time.Time          // guarded by mu: when free was read
	free    uint64             // guarded by mu: bytes that were free then
	size    uint64             // guarded by mu: bytes of the whole disk
	reserve uint64             // guarded by mu: bytes
	written uint64             // guarded by mu: bytes since then
	refused map[need]time.Time // guarded by mu: when it was, last
	failed  error              // guarded by mu: why the server can store nothing; it is to be started again
}

func newDisk(dir string) *disk { return &disk{dir: dir, refused: make(map[need]time.Time)} }

// room says whether there is room to write n bytes; the error wraps ErrFull. It does nothing
// without a disk.
func (d *disk) room(what need, n int) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return fmt.Errorf("%w: the embedded NATS server is started again when there is", ErrFull)
	}
	now := time.Now()
	if err := d.look(now); err != nil {
		return err
	}
	again := now.Sub(d.refused[what]) < refusedFor
	if left := d.reserve / uint64(what); again || d.free < left+d.written+uint64(n) {
		if !again {
			d.refused[what] = now
		}
		return fmt.Errorf("%w: the disk of the store has %d KiB free, and its last %d KiB are kept for what is more urgent",
			ErrFull, (d.free-min(d.written, d.free))>>10, left>>10)
	}
	d.written += uint64(n)
	return nil
}

// look reads how much is free, if that is not known well enough. mu is held.
func (d *disk) look(now time.Time) error {
	if now.Sub(d.looked) < lookAfter && d.written < lookBytes {
		return nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		return fmt.Errorf("ask for the free space of the store: %w", err)
	}
	size := uint64(s.Bsize)
	d.looked, d.written = now, 0
	d.free = s.Bavail * size
	d.size = s.Blocks * size
	d.reserve = min(max(d.size/reservePart, reserveLeast), reserveMost)
	return nil
}

// fail notes that the server can store nothing.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
	d.looked = time.Time{}
}

// failure is what fail noted.
func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// spacious says whether a server that was stopped by a full disk can be started again: it needs
// what sessions need.
func (d *disk) spacious() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.look(time.Now()) == nil && d.free >= d.reserve
}
