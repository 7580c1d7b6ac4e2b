package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// errRestarted is returned to callers that wait for the disk while the embedded server is
// restarted.
var errRestarted = errors.New("the embedded NATS server was restarted")

// synced tracks how far a stream of the embedded server is synced to the disk.
//
// The server writes each message to a file before it acknowledges it, and does not sync: one fsync
// here covers everything written before it, of any number of sessions. No publisher or reader sees
// a message that is not synced. So no state, such as the position of a reader, can refer to a
// message that a power failure could remove, and whose sequence the next message would get.
//
// A nil synced belongs to a stream whose messages all count as synced.
type synced struct {
	sync     func() error // syncs everything that was written before
	close    func()       // closes its files
	duration prometheus.Observer
	failed   func(error) // called once when a sync has failed

	until atomic.Uint64 // the sequence up to which the stream is synced; written with mu held

	mu         sync.Mutex
	asked      uint64        // guarded by mu: the highest sequence that a caller waits for
	ended      chan struct{} // guarded by mu: closed when the running sync ends; nil if none is running
	err        error         // guarded by mu: why nothing can be synced any more
	generation int           // guarded by mu: number of calls of reset
}

// wait waits until a message of the stream is synced.
func (s *synced) wait(ctx context.Context, sequence uint64) error {
	if s == nil || s.until.Load() >= sequence {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for generation := s.generation; s.until.Load() < sequence; {
		if generation != s.generation {
			return errRestarted
		}
		if s.err != nil {
			return s.err
		}
		s.asked = max(s.asked, sequence)
		if s.ended == nil {
			s.run()
			continue
		}
		ended := s.ended
		s.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// run syncs for all callers so far. Callers that arrive meanwhile share the next sync. The caller
// holds mu, which run releases while it waits for the disk.
func (s *synced) run() {
	asked, generation, ended := s.asked, s.generation, make(chan struct{})
	s.ended = ended
	s.mu.Unlock()
	begin := time.Now()
	err := s.sync()
	s.duration.Observe(time.Since(begin).Seconds())
	s.mu.Lock()
	s.ended = nil
	close(ended)
	switch {
	case generation != s.generation:
	case err != nil:
		// Not retried: the next fsync may report data as written that the failed one left
		// unwritten.
		s.err = fmt.Errorf("sync recorded data to the disk: %w", err)
		s.failed(s.err)
	default:
		s.until.Store(asked)
	}
}

// reset discards the sync state: the server was restarted, and may have lost messages.
func (s *synced) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.asked, s.err = 0, nil
	s.until.Store(0)
}

// failure returns the reason why nothing can be synced any more.
func (s *synced) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// settled is the minimum age of the last change of a folder for its time to distinguish it from the
// next change: file systems' clocks have a resolution of some milliseconds.
const settled = 100 * time.Millisecond

// blocks are the numbered files with a stream's messages. The server writes to the last one.
type blocks struct {
	dir string

	mu     sync.Mutex
	last   *os.File  // guarded by mu: the last block; nil if unknown
	number int       // guarded by mu: its number
	listed time.Time // guarded by mu: dir's time of change while last was the last block; zero if uncertain
}

// sync syncs everything that was written to the blocks before the call.
func (b *blocks) sync() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Stat(b.dir)
	if err != nil {
		return err
	}
	if b.last != nil && info.ModTime().Equal(b.listed) {
		return b.last.Sync()
	}
	looked := time.Now()
	numbers, err := b.list()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		// Open each by name: the server may have replaced the file that was the last one.
		f, err := os.Open(filepath.Join(b.dir, strconv.Itoa(n)+".blk"))
		if errors.Is(err, fs.ErrNotExist) { // deleted with all its messages
			continue
		}
		if err != nil {
			return err
		}
		b.forget()
		b.last, b.number = f, n
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if b.listed = info.ModTime(); looked.Sub(b.listed) < settled {
		b.listed = time.Time{}
	}
	return syncFile(b.dir)
}

// list returns the numbers of the blocks, starting with the last known one. The caller holds mu.
func (b *blocks) list() ([]int, error) {
	dir, err := os.Open(b.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(name, ".blk")); err == nil && strings.HasSuffix(name, ".blk") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if first, _ := slices.BinarySearch(numbers, b.number); first < len(numbers) {
		return numbers[first:], nil
	}
	return numbers, nil // restarted
}

// forget closes the last block. The caller holds mu.
func (b *blocks) forget() {
	if b.last != nil {
		b.last.Close() // nothing was written through it
		b.last = nil
	}
}

func (b *blocks) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
}

// syncFile syncs a file, or the list of files of a folder.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncFiles syncs the files of a folder, and the list of them, but not its subfolders.
func syncFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) { // a temporary file
			return err
		}
	}
	return syncFile(dir)
}
