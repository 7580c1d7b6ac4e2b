package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestRoom fills the stream TTY: output has the room until the last of it, new sessions and /readyz
// less, and ends the most.
func TestRoom(t *testing.T) {
	const limit = 16 << 20
	b, err := Open(t.Context(), Options{Store: t.TempDir(), Sync: time.Hour, MaxBytes: limit, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	const reserve = limit / streamReservePart
	subject := schema.SubjectTTY(&schema.Operation{ID: "1", Stack: "default", App: "web"}, 1)
	n := 0
	// until fills the stream until so much is left, and no more than a message less.
	until := func(left uint64) {
		t.Helper()
		for {
			r, err := b.Room(t.Context())
			if err != nil || r.Reserve != reserve || r.Of != "the stream TTY" {
				t.Fatalf("%+v, %v", r, err)
			}
			if r.Free <= left {
				return
			}
			n++
			if _, err := b.PublishChunk(subject, fmt.Sprint("1-", n), make([]byte, min(r.Free-left, 64<<10))).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	open := func() error { return b.CreateOperation(t.Context(), &schema.Operation{Stack: "default", App: "web"}) }
	until(reserve/newSessionsPart + 128<<10)
	if err := errors.Join(open(), b.Ready(t.Context())); err != nil {
		t.Errorf("with room for a new session: %v", err)
	}
	until(reserve/newSessionsPart - 1)
	if err := open(); !errors.Is(err, ErrFull) {
		t.Errorf("a new session without room: %v", err)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "sessions can't be started: there is no room to record it: the stream TTY has ") {
		t.Errorf("ready without room for a new session: %v", err)
	}
	until(reserve/endsPart + 16<<10)
	if _, err := b.PublishChunk(subject, "small", []byte("x")).Wait(t.Context()); err != nil {
		t.Errorf("output of a session that runs: %v", err)
	}
	until(reserve / endsPart)
	if _, err := b.PublishChunk(subject, "none", []byte("x")).Wait(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("output where there is room for ends alone: %v", err)
	}
	last, _, err := b.Last(t.Context(), schema.StreamTTY, subject)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PublishEnd(subject, last.Sequence, []byte("end")).Wait(t.Context()); err != nil {
		t.Errorf("an end: %v", err)
	}
	if need, _, err := b.Scarce(t.Context(), schema.StreamTTY); err != nil || need < 2*reserve {
		t.Errorf("%d bytes are to be removed, %v", need, err)
	}
	if err := b.Purge(t.Context(), schema.StreamTTY, subject, last.Sequence); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(open(), b.Ready(t.Context())); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if need, u, err := b.Scarce(t.Context(), schema.StreamTTY); err != nil || need != 0 || u.First != last.Sequence {
		t.Errorf("after the removal %d bytes are to be removed of %+v, %v", need, u, err)
	}
}

// TestRoomWithoutBound: without a bound of the stream, the disk is what there is room on.
func TestRoomWithoutBound(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	r, err := b.Room(t.Context())
	if err != nil || r.Of != "the disk of the store" || r.Reserve == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if c, err := b.Capacity(t.Context()); err != nil || c < int64(r.Free) {
		t.Errorf("a capacity of %d with %d free, %v", c, r.Free, err)
	}
	if b.SettlePurge(schema.StreamTTY) != nil {
		t.Error("a store that does not sync has nothing to settle")
	}
	synced := openSynced(t)
	if _, err := synced.PublishChunk("tty.0.default.web.1", "1-0", []byte("x")).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := synced.SettlePurge(schema.StreamTTY); err != nil {
		t.Error(err)
	}
}
