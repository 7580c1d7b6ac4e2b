package bus

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Writers is the number of goroutines that mostly wait for the disk if nothing is reported before
// it is synced: those that sync the streams TTY and LOGS.
const Writers = 2

// need is the purpose of a write. Each leaves a part of the reserve to the following ones, so that
// a disk that fills up first ends the sessions, continues their delivery to drains for longer, and
// can record the final positions.
type need uint64

const (
	forSessions    need = 1 // their output, and new ones: leaves the whole reserve
	forDelivery    need = 2 // segments and dead letters: leaves a half
	forBookkeeping need = 4 // positions, ends of sessions, operators' requests: leaves a quarter
)

const (
	// The reserve is one reservePart of a disk, within these limits.
	reservePart = 20
	minReserve  = 4 << 20
	maxReserve  = 256 << 20
	// maxSpaceAge is the time for which a reading of the free space is valid, and maxSpaceDrift the
	// number of bytes that may be written in the meantime.
	maxSpaceAge   = 50 * time.Millisecond
	maxSpaceDrift = 512 << 10
	// refusedFor is the time for which a purpose stays refused. If the free space fluctuates, later
	// chunks of a session could otherwise be stored while earlier ones are not; so all wait, and
	// are retried in order.
	refusedFor = time.Second
)

// disk is the file system of the embedded server's files. ttydrain does not fill it up: a stream
// that meets a full disk accepts nothing more until its server is restarted.
type disk struct {
	dir string

	mu      sync.Mutex
	readAt  time.Time          // guarded by mu: when free was read
	free    uint64             // guarded by mu: free bytes at that time
	size    uint64             // guarded by mu: total bytes
	reserve uint64             // guarded by mu: bytes
	written uint64             // guarded by mu: bytes since then
	refused map[need]time.Time // guarded by mu: time of the last refusal
	failed  error              // guarded by mu: why the server can store nothing until it is restarted
}

func newDisk(dir string) *disk { return &disk{dir: dir, refused: make(map[need]time.Time)} }

// admit returns an error that wraps ErrFull if there is no space to write n bytes. A nil disk has
// no limit.
func (d *disk) admit(what need, n int) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return fmt.Errorf("%w: the embedded NATS server is restarted when space is available", ErrFull)
	}
	now := time.Now()
	if err := d.refresh(now); err != nil {
		return err
	}
	again := now.Sub(d.refused[what]) < refusedFor
	if left := d.reserve / uint64(what); again || d.free < left+d.written+uint64(n) {
		if !again {
			d.refused[what] = now
		}
		return fmt.Errorf("%w: the disk of the store has %d KiB free, of which %d KiB are reserved for more urgent data",
			ErrFull, (d.free-min(d.written, d.free))>>10, left>>10)
	}
	d.written += uint64(n)
	return nil
}

// refresh reads the free space, unless the last reading is still valid. The caller holds mu.
func (d *disk) refresh(now time.Time) error {
	if now.Sub(d.readAt) < maxSpaceAge && d.written < maxSpaceDrift {
		return nil
	}
	free, size, err := statfs(d.dir)
	if err != nil {
		return err
	}
	d.readAt, d.written = now, 0
	d.free, d.size, d.reserve = free, size, reserveOf(size)
	return nil
}

// statfs returns the free and total space of the file system of a folder, in bytes.
func statfs(dir string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("read the free space of the store: %w", err)
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// reserveOf returns the reserve of a disk of the given size, both in bytes.
func reserveOf(size uint64) uint64 { return min(max(size/reservePart, minReserve), maxReserve) }

// fail records that the server can store nothing.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
	d.readAt = time.Time{}
}

// failure returns the error set by fail.
func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// hasReserve reports whether a server that was stopped by a full disk can be restarted, for which
// the whole reserve must be free.
func (d *disk) hasReserve() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refresh(time.Now()) == nil && d.free >= d.reserve
}
