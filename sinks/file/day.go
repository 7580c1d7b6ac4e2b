package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockInterval = 10 * time.Millisecond // between two tries to lock a file
	repairChunk  = 64 << 10              // bytes that are read at once to find the end of the last whole line
)

// A day is the file of one day. It is for one goroutine.
type day struct {
	path string
	file *os.File
}

// openDay opens or creates the file, and its folder. What it creates is durable when it returns.
func openDay(path string) (*day, error) {
	dir := filepath.Dir(path)
	if err := createDir(dir); err != nil {
		return nil, err
	}
	_, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if fresh {
		if err := syncDir(dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &day{path, f}, nil
}

// createDir creates a folder, and those that it is in.
func createDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := createDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// is reports whether this is still the file at path.
func (d *day) is(path string) bool {
	there, err := os.Stat(path)
	if err != nil || d.path != path {
		return false
	}
	own, err := d.file.Stat()
	return err == nil && os.SameFile(there, own)
}

// append appends lines and syncs. After an error, the file is as it was before, as far as that was
// possible.
func (d *day) append(ctx context.Context, data []byte) (err error) {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Flock(int(d.file.Fd()), unix.LOCK_UN)) }()
	size, err := d.repair()
	if err != nil {
		return err
	}
	_, err = d.file.Write(data)
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		// After a failed sync the kernel may take pages for written that are not, so none of them
		// stays.
		_ = d.file.Truncate(size) // where it fails, the next Write repairs the file
	}
	return err
}

// lock waits until no other sink writes to the file.
func (d *day) lock(ctx context.Context) error {
	for {
		err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// repair removes a partial last line, and returns the size of the file. The file is locked.
func (d *day) repair() (size int64, err error) {
	info, err := d.file.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	whole, err := wholeLines(d.file, size)
	if err != nil {
		return 0, fmt.Errorf("look for the end of the last line: %w", err)
	}
	if whole == size {
		return size, nil
	}
	if err := d.file.Truncate(whole); err != nil {
		return 0, fmt.Errorf("remove a partial last line: %w", err)
	}
	return whole, nil
}

// wholeLines returns how many of the first size bytes are whole lines.
func wholeLines(f io.ReaderAt, size int64) (int64, error) {
	chunk := make([]byte, 1) // mostly the last byte is the end of a line
	for end := size; end > 0; {
		n := min(end, int64(len(chunk)))
		if _, err := f.ReadAt(chunk[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(chunk[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
		if len(chunk) == 1 {
			chunk = make([]byte, repairChunk)
		}
	}
	return 0, nil
}

func (d *day) close() error { return d.file.Close() }
