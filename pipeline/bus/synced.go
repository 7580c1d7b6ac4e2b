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

// errStartedAgain is the error of who waits for the disk while the embedded server is started
// again.
var errStartedAgain = errors.New("the embedded NATS server was started again meanwhile")

// A synced is how far a stream of the embedded server is on the disk.
//
// The server writes each message to a file before it acknowledges it, and syncs nothing: one fsync
// here is for all that was written before it, of however many sessions. Nobody is told of a
// message, as its publisher or as its reader, that is not on the disk. So nothing that is known
// anywhere, such as the position of a reader, is of a message that a failure of the power could
// take away, and whose sequence the next one would have.
//
// A nil synced is that of a stream of which everything counts as on the disk.
type synced struct {
	sync   func() error // has all on the disk that was written before
	close  func()       // lets go of its files
	took   prometheus.Observer
	failed func(error) // called once when a sync has failed

	until atomic.Uint64 // the sequence up to which the stream is on the disk; written with mu held

	mu         sync.Mutex
	asked      uint64        // guarded by mu: the highest sequence that somebody waits for
	ended      chan struct{} // guarded by mu: closed when the sync that is under way ends; nil while there is none
	err        error         // guarded by mu: why nothing can be synced any more
	generation int           // guarded by mu: how often reset was called
}

// wait waits until a message that the stream has is on the disk.
func (s *synced) wait(ctx context.Context, sequence uint64) error {
	if s == nil || s.until.Load() >= sequence {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for generation := s.generation; s.until.Load() < sequence; {
		if generation != s.generation {
			return errStartedAgain
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

// run syncs, for all who have asked by now. Those who ask meanwhile have the next one, together. mu
// is held, but not while it waits for the disk.
func (s *synced) run() {
	asked, generation, ended := s.asked, s.generation, make(chan struct{})
	s.ended = ended
	s.mu.Unlock()
	begin := time.Now()
	err := s.sync()
	s.took.Observe(time.Since(begin).Seconds())
	s.mu.Lock()
	s.ended = nil
	close(ended)
	switch {
	case generation != s.generation:
	case err != nil:
		// Not tried again: what a failed fsync left unwritten, the next one may take for written.
		s.err = fmt.Errorf("sync what was recorded to the disk: %w", err)
		s.failed(s.err)
	default:
		s.until.Store(asked)
	}
}

// reset forgets what is on the disk: the server was started again, and may have less than it had.
func (s *synced) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.asked, s.err = 0, nil
	s.until.Store(0)
}

// failure is why nothing can be synced any more.
func (s *synced) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// settled is how old the last change of a folder has to be for its time to tell it from the next
// one: clocks of file systems go by ticks of some milliseconds.
const settled = 100 * time.Millisecond

// blocks are the files that the server has a stream's messages in. They have numbers, and it writes
// to the last one.
type blocks struct {
	dir string

	mu     sync.Mutex
	last   *os.File  // guarded by mu: the last block; nil when it is not known
	number int       // guarded by mu: its number
	listed time.Time // guarded by mu: when dir was changed, as of when last was the last one; zero where it may not be any more
}

// sync has everything on the disk that was written to the blocks before it was called.
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
		// Each by its name: the server may have put another file into the place of one that was the last.
		f, err := os.Open(filepath.Join(b.dir, strconv.Itoa(n)+".blk"))
		if errors.Is(err, fs.ErrNotExist) { // with all its messages
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

// list gives the numbers of the blocks from the last known one on. mu is held.
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
	return numbers, nil // begun anew
}

// forget closes the last block. mu is held.
func (b *blocks) forget() {
	if b.last != nil {
		b.last.Close() // nothing was written to it here
		b.last = nil
	}
}

func (b *blocks) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
}

// syncFile has a file on the disk, or which files a folder has.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncFiles has the files of a folder on the disk, and which these are; what is in its folders is
// theirs.
func syncFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a temporary one
			return err
		}
	}
	return syncFile(dir)
}
