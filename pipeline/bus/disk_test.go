package bus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// publishAll publishes chunks until one is refused, and returns the number of stored chunks.
func publishAll(t testing.TB, b *Bus, subject string, first int) (taken int, err error) {
	t.Helper()
	data := bytes.Repeat([]byte("x"), 32<<10)
	for i := first; i < 10_000; i++ {
		if _, err := b.PublishChunk(subject, strconv.Itoa(i), data).Wait(t.Context()); err != nil {
			return i - first, err
		}
	}
	t.Fatal("the disk is not small")
	return 0, nil
}

// TestReserve: when a disk fills, first the sessions stop, then the delivery, then the bookkeeping,
// and the server never fills it.
func TestReserve(t *testing.T) {
	disk := bustest.NewDisk(t, t.TempDir(), 128)
	b := open(t, filepath.Join(disk.Dir, "data"), 1)
	lease, err := b.Acquire(t.Context(), "enrich.0")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	const tty, logs = "tty.0.default.web.1", "logs.0.default.web.1"
	wait(t, b.PublishChunk(tty, "first", []byte("x")))
	reserve := int64(128 << 20 / reservePart)
	ended := &schema.Session{Operation: &schema.Operation{ID: "1"}, Gateway: "g"}
	ended.Ended = ended.Ended.AddDate(2026, 0, 0)
	segment := uint64(0)
	writes := []struct {
		what  string
		write func() error
		left  int64 // left of the reserve, in parts
	}{
		{"a new operation", func() error { return b.CreateOperation(t.Context(), newOperation()) }, 1},
		{"a new session", func() error {
			return b.SaveSession(t.Context(), &schema.Session{Operation: &schema.Operation{ID: "2"}, Gateway: "g"})
		}, 1},
		{"a chunk", func() error { _, err := b.PublishChunk(tty, "", []byte("x")).Wait(t.Context()); return err }, 1},
		{"whether it is ready", func() error { return b.Ready(t.Context()) }, 1},
		{"a segment", func() error {
			n, err := b.PublishSegment(logs, segment, 1, false, []byte("x")).Wait(t.Context())
			if err == nil {
				segment = n
			}
			return err
		}, 2},
		{"a dead letter", func() error {
			return b.PublishDeadLetter(t.Context(), &schema.DeadLetter{Drain: "siem", Operation: "1", Sequence: 1})
		}, 2},
		{"a position", func() error { return lease.Save(t.Context(), lease.Position()+1) }, 4},
		{"the end of a session", func() error { return b.SaveSession(t.Context(), ended) }, 4},
		{"a pause", func() error {
			return b.ChangeDrainControl(t.Context(), "siem", func(c *schema.DrainControl) { c.Paused = !c.Paused })
		}, 4},
	}
	for _, left := range []int64{2 * reserve, reserve * 3 / 4, reserve * 3 / 8, reserve / 8, reserve * 3 / 8, reserve * 3 / 4, 2 * reserve} {
		disk.Fill(left)
		forget(b)
		for _, w := range writes {
			err := w.write()
			if full := left < reserve/w.left; full != errors.Is(err, ErrFull) || !full && err != nil {
				t.Errorf("%s with %d KiB free, of which %d are the reserve: %v", w.what, left>>10, reserve>>10, err)
			}
		}
	}
	// Without free space, released work is continued at its position, and its position is saved when
	// there is space again.
	position := lease.Position()
	disk.Fill(0)
	forget(b)
	lease.Release()
	for name, expected := range map[string]uint64{"enrich.0": position, "enrich.1": 0} {
		l, err := b.Acquire(t.Context(), name)
		if err != nil || l.Position() != expected {
			t.Fatalf("%+v, %v; expected the position %d", l, err, expected)
		}
		if err := l.Save(t.Context(), expected+1); !errors.Is(err, ErrFull) || l.Position() != expected {
			t.Errorf("position %d, %v", l.Position(), err)
		}
		disk.Clear()
		forget(b)
		if err := l.Save(t.Context(), expected+1); err != nil || l.Position() != expected+1 {
			t.Errorf("position %d, %v", l.Position(), err)
		}
		l.Release()
		disk.Fill(0)
		forget(b)
	}
	// ttydrain itself does not fill it completely.
	disk.Fill(reserve + 8<<20)
	if taken, err := publishAll(t, b, tty, 0); taken == 0 || !errors.Is(err, ErrFull) {
		t.Errorf("%d chunks were stored, then: %v", taken, err)
	}
	if err := b.embedded.broken(); err != nil {
		t.Error(err)
	}
}

// TestFullDisk: something else fills the disk faster than ttydrain checks it. The server can no
// longer store anything. When there is space it is started again with all acknowledged data, and
// the same Bus continues with it.
func TestFullDisk(t *testing.T) {
	disk := bustest.NewDisk(t, t.TempDir(), 128)
	dir := filepath.Join(disk.Dir, "data")
	b, err := Open(t.Context(), Options{Store: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	const subject = "tty.0.default.web.1"
	acknowledged := uint64(0)
	for round := range 3 {
		for i := range 20 {
			acknowledged = wait(t, b.PublishChunk(subject, fmt.Sprintf("%d-%d", round, i), bytes.Repeat([]byte("x"), 32<<10)))
		}
		lease, err := b.Acquire(t.Context(), "enrich.0")
		if err != nil {
			t.Fatal(err)
		}
		disk.Fill(10 << 10)
		// The test replaces the disk's checks: this is the moment between two of them.
		publishBlindly(b, subject, t)
		waittest.Until(t, "the server is found broken", func() bool { return b.disk.failure() != nil })
		for what, err := range map[string]error{
			"a chunk":     func() error { _, err := b.PublishChunk(subject, "later", nil).Wait(t.Context()); return err }(),
			"a position":  lease.Save(t.Context(), 1),
			"a new start": b.Ready(t.Context()),
		} {
			if !errors.Is(err, ErrFull) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if end, err := b.End(t.Context(), schema.StreamTTY); err != nil || end != acknowledged {
			t.Errorf("%d messages with a full disk, %v; expected %d", end, err, acknowledged)
		}
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // the files of a process that is killed now
			t.Fatal(err)
		}
		disk.Clear()
		if round == 2 {
			b.Close() // instead of waiting
			if b, err = Open(t.Context(), Options{Store: dir}); err != nil {
				t.Fatal(err)
			}
		}
		waittest.Until(t, "sessions are taken again", func() bool { return b.Ready(t.Context()) == nil })
		again := open(t, killed, 1)
		for _, b := range []*Bus{b, again} {
			if end, err := b.End(t.Context(), schema.StreamTTY); err != nil || end != acknowledged {
				t.Errorf("%d messages after a new start, %v; expected %d", end, err, acknowledged)
			}
			if next := wait(t, b.PublishChunk(subject, fmt.Sprintf("%d-after", round), []byte("x"))); next != acknowledged+1 {
				t.Errorf("the next message is %d; expected %d", next, acknowledged+1)
			}
		}
		acknowledged++
		lease.Release()
	}
}

// publishBlindly publishes without checking the disk, and does not wait.
func publishBlindly(b *Bus, subject string, t testing.TB) {
	t.Helper()
	b.disk.mu.Lock()
	b.disk.readAt, b.disk.free, b.disk.written = b.disk.readAt.AddDate(100, 0, 0), 1<<40, 0
	b.disk.mu.Unlock()
	b.PublishChunk(subject, "too much", bytes.Repeat([]byte("x"), 32<<10))
	b.disk.mu.Lock()
	b.disk.readAt = b.disk.readAt.AddDate(-200, 0, 0)
	b.disk.mu.Unlock()
}

// forget discards the result of the last check of the disk.
func forget(b *Bus) {
	b.disk.mu.Lock()
	defer b.disk.mu.Unlock()
	b.disk.readAt = time.Time{}
	clear(b.disk.refused)
}

// TestRefusalIsKept: when the free space fluctuates, a chunk is not stored before one that was
// refused earlier.
func TestRefusalIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t.TempDir())
		if err := d.admit(forSessions, 1<<62); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		for range 9 {
			time.Sleep(refusedFor / 10)
			if err := d.admit(forSessions, 1); !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			if err := d.admit(forDelivery, 1); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(refusedFor / 10)
		if err := d.admit(forSessions, 1); err != nil {
			t.Error(err)
		}
	})
}

// TestBounds: the configured bounds apply to new and to existing streams.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	for _, bound := range []int64{0, 1 << 40, 100 << 10, 0} {
		b, err := Open(t.Context(), Options{Store: dir, MaxBytes: bound})
		if err != nil {
			t.Fatal(err)
		}
		expected := map[string]int64{schema.StreamTTY: bound, schema.StreamLogs: bound, schema.StreamDeadLetter: bound / 10, schema.StreamAudit: bound / 10}
		for name, stream := range b.streams {
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := max(info.Config.MaxBytes, 0); got != expected[name] && bound > 0 {
				t.Errorf("the stream %s may have %d bytes; expected %d", name, got, expected[name])
			}
			if bound == 100<<10 && name == schema.StreamTTY && info.State.Msgs != 20 {
				t.Errorf("a smaller bound left %d messages", info.State.Msgs)
			}
		}
		if bound == 1<<40 {
			for i := range 20 {
				wait(t, b.PublishChunk("tty.0.default.web.1", strconv.Itoa(i), bytes.Repeat([]byte("x"), 32<<10)))
			}
		}
		if bound == 100<<10 {
			if _, err := b.PublishChunk("tty.0.default.web.1", "more", []byte("x")).Wait(t.Context()); !errors.Is(err, ErrFull) {
				t.Errorf("published to a full stream: %v", err)
			}
		}
		b.Close()
	}
}
