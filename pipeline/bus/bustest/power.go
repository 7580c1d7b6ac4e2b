package bustest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PowerDisk is a small separate file system whose power can fail.
type PowerDisk struct {
	Dir   string
	t     testing.TB
	image string
}

// NewPowerDisk creates an ext4 file system of some megabytes and mounts it on the folder dir, which
// it creates, until the test ends. It requires root, loop devices and mkfs.ext4: without them, the
// test is skipped, or fails if skipping is not allowed.
func NewPowerDisk(t testing.TB, dir string, megabytes int) *PowerDisk {
	t.Helper()
	d := &PowerDisk{Dir: dir, t: t, image: filepath.Join(t.TempDir(), "image")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, int64(megabytes)<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		absent(t, fmt.Errorf("no file system can be made, for which there is the package e2fsprogs: %w", err))
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Fatalf("make a file system: %v\n%s", err, out)
	}
	if err := d.mount(d.image, d.Dir); err != nil {
		absent(t, err)
	}
	return d
}

func (d *PowerDisk) mount(image, dir string) error {
	// Only synced data may be on the disk: by default, ext4 would write metadata earlier than after
	// the five minutes set here, and write out files that replace others.
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,commit=300,noauto_da_alloc", image, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("no file system can be mounted from a file, which root may where there are loop devices: %w: %s", err, out)
	}
	d.t.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", dir).CombinedOutput(); err != nil {
			d.t.Errorf("unmount the disk: %v\n%s", err, out)
		}
	})
	return nil
}

// Fail returns a folder with the content that would remain if the power failed now: data written to
// the disk, without data cached in memory. The disk itself continues unchanged. Nothing may write
// to it during the call.
func (d *PowerDisk) Fail() (dir string) {
	d.t.Helper()
	copied := filepath.Join(d.t.TempDir(), "image")
	if err := copyFile(copied, d.image); err != nil {
		d.t.Fatal(err)
	}
	dir = d.t.TempDir()
	if err := d.mount(copied, dir); err != nil {
		d.t.Fatal(err)
	}
	return dir
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}
