// Package bustest has what tests of a store need: a disk that can be filled, and one whose power
// can fail.
package bustest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A Disk is a small file system of its own.
type Disk struct {
	Dir string
	t   testing.TB
}

// NewDisk mounts one of some megabytes in memory for the time of the test, on the folder dir, which
// is made. It needs root: without, the test is skipped, or fails where that is not allowed.
func NewDisk(t testing.TB, dir string, megabytes int) *Disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", megabytes)); err != nil {
		absent(t, fmt.Errorf("no small disk can be mounted, which root may: %w", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	return &Disk{dir, t}
}

// absent skips a test for which something is not there, or fails it where all of it is required.
func absent(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %v, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", err)
	}
	t.Skipf("SKIPPED, NOT TESTED: %v", err) // as the README says: a clone without root is tested as far as it can be
}

// Fill leaves some bytes free, with a file in the place of the one before.
func (d *Disk) Fill(left int64) {
	d.t.Helper()
	d.Clear()
	f, err := os.Create(d.filler())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	// In pieces: an allocation that fails is undone, and somebody else may take what is there between
	// the look and it.
	for at, piece := int64(0), int64(1<<20); ; {
		size := min(d.Free()-left, piece)
		if size <= 0 {
			return
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, at, size); {
		case err == nil:
			at += size
		case errors.Is(err, unix.ENOSPC):
			piece = max(piece/2, 4<<10)
		default:
			d.t.Fatal(err)
		}
	}
}

// Clear removes the file of Fill.
func (d *Disk) Clear() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
}

// Free is how many bytes are free.
func (d *Disk) Free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.Dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler") }
