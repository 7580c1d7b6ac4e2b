// Package bustest provides disks for tests of a store: one that can be filled, and one whose power
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

// Disk is a small separate file system.
type Disk struct {
	Dir string
	t   testing.TB
}

// NewDisk mounts a file system of some megabytes in memory on the folder dir, which it creates,
// until the test ends. It requires root: without it, the test is skipped, or fails if skipping is
// not allowed.
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

// absent skips a test that misses a requirement, or fails it if everything is required.
func absent(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %v, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", err)
	}
	t.Skipf("SKIPPED, NOT TESTED: %v", err) // see the page development: without root, the tests run as far as possible
}

// Fill creates a file that leaves the given number of bytes free, replacing a previous one.
func (d *Disk) Fill(left int64) {
	d.t.Helper()
	d.Clear()
	f, err := os.Create(d.filler())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	// In pieces: a failing allocation is undone, and the space may be taken by others between the
	// check and the allocation.
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

// Clear removes the file created by Fill.
func (d *Disk) Clear() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
}

// Free returns the number of free bytes.
func (d *Disk) Free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.Dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler") }
