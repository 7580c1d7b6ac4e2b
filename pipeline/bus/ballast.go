package bus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxBallast is the size of the ballast on a disk that is large enough. A server that opens its
// files may rewrite one file of each stream, of at most 8 MiB, before it removes the old one.
const maxBallast = 32 << 20

// ballastPart is the part of a smaller disk that the ballast takes.
const ballastPart = 16

// ballast is an allocated file beside the server's files, whose space is released when the server
// has to start on a full disk: a server that cannot write does not open the streams whose files it
// has to rewrite first, such as after a crash.
type ballast struct {
	path string
	dir  string // on the disk
}

func newBallast(dir string) *ballast { return &ballast{filepath.Join(dir, "ballast"), dir} }

// release removes the ballast if the disk has less free space than it holds. It reports whether it
// did.
func (b *ballast) release() (bool, error) {
	info, err := os.Stat(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the size of the store's ballast: %w", err)
	}
	free, _, err := statfs(b.dir)
	if err != nil || free >= uint64(info.Size()) {
		return false, err
	}
	if err := os.Remove(b.path); err != nil {
		return false, fmt.Errorf("release the space of the store's ballast: %w", err)
	}
	return true, nil
}

// take allocates the ballast unless it exists. While the disk has not enough space for it, it does
// nothing. It leaves the reserve to others unless all is set.
func (b *ballast) take(all bool) error {
	if _, err := os.Stat(b.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	free, size, err := statfs(b.dir)
	if err != nil {
		return err
	}
	want := min(size/ballastPart, maxBallast)
	left := reserveOf(size)
	if all {
		left = 0
	}
	if free < want+left {
		return nil
	}
	// It gets its name when it is whole: one that is too small would not be replaced.
	part := b.path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("allocate the store's ballast: %w", err)
	}
	_, err = io.CopyN(f, zeros{}, int64(want)) // a file system that compresses keeps little space
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(part, b.path)
	}
	if err != nil {
		os.Remove(part)
		if errors.Is(err, unix.ENOSPC) { // others were faster
			return nil
		}
		return fmt.Errorf("allocate the store's ballast: %w", err)
	}
	return nil
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
