// Package file is the sink that writes records to files, one JSON object a line (NDJSON), for
// archives and for trying ttydrain out.
//
// # Files
//
// The folder has one file for each day, such as 2026-11-30.ndjson. A record is in the file of the
// day (UTC) on which it was written, not of its own timestamp: late records do not change the files
// of past days, which can be compressed or moved once their day is over. A file that is moved or
// removed is created anew. The sink never deletes anything.
//
// Folders are created with mode 0700 and files with 0600. ttydrain replay and audit read the files,
// like any drain's copy.
//
// # Durability
//
// Write returns after fsync of the file and, where that is new, of its folder. The records of an
// operation are in their order; a batch that is written again, after an error or a crash, is there
// twice, recognisable by operation ID and sequence.
//
// A crash can leave a partial last line. It was never acknowledged, so the next Write removes it
// before it appends. Lines of a Write that failed are removed as well. Sinks of several processes
// may write to the same folder: each holds a lock (flock) on the file meanwhile.
package file

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

const (
	// concurrency is the maximum number of Writes at a time, which encode at once and append one
	// after the other.
	concurrency = 4
	// maxKept is the size in bytes of an encoded batch whose buffer is kept for the next one.
	maxKept = 8 << 20
)

// Options are the settings of a drain of type file.
type Options struct {
	// Path is the folder.
	Path string
}

// Open implements [sinks.Opener].
func (o Options) Open() (sinks.Sink, error) { return New(o) }

// Limits implements [sinks.Opener].
func (o Options) Limits() sinks.Limits { return sinks.Limits{Concurrency: concurrency} }

// A Sink writes to one folder. It implements [sinks.Sink].
type Sink struct {
	dir     string
	now     func() time.Time
	encoder schema.Encoder
	buffers sync.Pool // of *[]byte: those of encoded batches

	mu  sync.Mutex // guards day, and is held while it is written to
	day *day       // nil before the first Write, and after a failure
}

// New makes a sink. It creates nothing: the first Write does.
func New(o Options) (*Sink, error) {
	if o.Path == "" {
		return nil, sinks.RefuseSetting("path", "is empty; expected a folder, such as /var/log/ttydrain")
	}
	dir, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, sinks.RefuseSetting("path", "cannot be made absolute: %v; expected a folder, such as /var/log/ttydrain", err)
	}
	return &Sink{dir: dir, now: time.Now, buffers: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// Write implements [sinks.Sink].
func (s *Sink) Write(ctx context.Context, batch []sinks.Entry) error {
	if len(batch) == 0 {
		return nil
	}
	buffer := s.buffers.Get().(*[]byte)
	data, refused := s.encode((*buffer)[:0], batch)
	if cap(data) <= maxKept {
		*buffer = data
	}
	defer s.buffers.Put(buffer)
	if len(data) > 0 {
		path, err := s.append(ctx, data)
		if err != nil {
			return failure(ctx, "write to "+s.dir, err)
		}
		if report := probe.From(ctx); report.Enabled() {
			report.Report(probe.Fact{Step: probe.Acceptance, Text: "the record is in " + path + ", and synced to the disk"})
		}
	}
	if len(refused) > 0 {
		return &sinks.Error{Verdict: sinks.Rejected, Reason: refused[0].Reason, Items: refused}
	}
	return nil
}

// encode appends the lines of a batch to dst. It also returns the entries that have none.
func (s *Sink) encode(dst []byte, batch []sinks.Entry) (_ []byte, refused []sinks.Item) {
	for i, e := range batch {
		grown, err := s.encoder.AppendRecord(dst, e.Operation, e.Record)
		if err != nil {
			refused = append(refused, sinks.Item{Index: i, Verdict: sinks.Rejected, Reason: fmt.Sprintf("the record cannot be encoded as JSON: %v", err)})
			continue
		}
		dst = append(grown, '\n')
	}
	return dst, refused
}

// append appends lines to the file of today, and returns its path.
func (s *Sink) append(ctx context.Context, data []byte) (path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	path = filepath.Join(s.dir, s.now().UTC().Format(time.DateOnly)+".ndjson")
	if s.day != nil && !s.day.is(path) {
		err := s.day.close()
		s.day = nil
		if err != nil {
			return "", err
		}
	}
	if s.day == nil {
		if s.day, err = openDay(path); err != nil {
			return "", err
		}
	}
	if err := s.day.append(ctx, data); err != nil { // the next Write opens and repairs it
		err = errors.Join(err, s.day.close())
		s.day = nil
		return "", err
	}
	return path, nil
}

// Close implements [sinks.Sink].
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day == nil {
		return nil
	}
	err := s.day.close()
	s.day = nil
	return err
}
