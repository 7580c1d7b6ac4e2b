package bus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/schema"
)

// crashed returns a copy of the files of a process that was killed before it compacted a file with
// removed messages, and the number of its messages. A server rewrites that file before it opens the
// stream.
func crashed(t *testing.T) (dir string, left uint64) {
	t.Helper()
	const written, removed = 300, 200
	running, dir := t.TempDir(), t.TempDir()
	b := open(t, running, 1)
	for i := range written { // more than the 8 MiB of the first file
		wait(t, b.PublishChunk("tty.0.default.web.1", fmt.Sprint(i), bytes.Repeat([]byte("x"), 32<<10)))
	}
	if err := os.CopyFS(dir, os.DirFS(running)); err != nil {
		t.Fatal(err)
	}
	for n := uint64(2); n <= 1+removed; n++ {
		if err := b.streams[schema.StreamTTY].DeleteMsg(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	files := filepath.Join("jetstream", "$G", "streams", schema.StreamTTY, "msgs")
	name := filepath.Join(files, "2.blk") // names the removed messages
	data, err := os.ReadFile(filepath.Join(running, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, files, "index.db"))
	return dir, written - removed
}

// TestStartOnFullDisk: a store that was not closed opens on a full disk, with the space of its
// ballast, and has all its messages. Without a ballast the error names the stream, and nothing is
// lost.
func TestStartOnFullDisk(t *testing.T) {
	files, left := crashed(t)
	disk := bustest.NewDisk(t, t.TempDir(), 192)
	check := func(dir string) {
		t.Helper()
		b, err := Open(t.Context(), Options{Store: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		info, err := b.streams[schema.StreamTTY].Info(t.Context())
		if err != nil || info.State.Msgs != left {
			t.Errorf("%d messages, %v; expected %d", info.State.Msgs, err, left)
		}
	}
	with, without := filepath.Join(disk.Dir, "with"), filepath.Join(disk.Dir, "without")
	for _, dir := range []string{with, without} {
		if err := os.CopyFS(dir, os.DirFS(files)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(without, "ballast")); err != nil {
		t.Fatal(err)
	}
	disk.Fill(0)
	b, err := Open(t.Context(), Options{Store: without})
	if err == nil {
		b.Close()
		t.Fatal("the store opened without any space: this tests nothing")
	}
	if !strings.Contains(err.Error(), "could not open the stream TTY") || !strings.Contains(err.Error(), "make room") {
		t.Errorf("without a ballast: %v", err)
	}
	check(with)
	disk.Clear()
	check(without)
}

// TestBallast: the ballast is released only when the disk is full, and allocated again when there
// is space.
func TestBallast(t *testing.T) {
	disk := bustest.NewDisk(t, t.TempDir(), 128)
	b := newBallast(disk.Dir)
	exists := func() bool {
		info, err := os.Stat(b.path)
		if err == nil && info.Size() != 128<<20/ballastPart {
			t.Errorf("the ballast has %d bytes", info.Size())
		}
		return err == nil
	}
	for _, step := range []struct {
		left   int64 // free bytes on the disk
		do     func() error
		exists bool
	}{
		{64 << 20, func() error { return b.take(false) }, true},
		{64 << 20, func() error { _, err := b.release(); return err }, true},
		{0, func() error { _, err := b.release(); return err }, false},
		{12 << 20, func() error { return b.take(false) }, false}, // the reserve is for others
		{12 << 20, func() error { return b.take(true) }, true},
		{4 << 20, func() error { _, err := b.release(); return err }, false},
		{4 << 20, func() error { return b.take(true) }, false},
		{64 << 20, func() error { return b.take(false) }, true},
	} {
		disk.Fill(step.left)
		if err := step.do(); err != nil || exists() != step.exists {
			t.Errorf("with %d KiB free: %v, the ballast exists: %t", step.left>>10, err, exists())
		}
	}
	if parts, _ := filepath.Glob(b.path + ".*"); parts != nil {
		t.Errorf("left: %q", parts)
	}
}
