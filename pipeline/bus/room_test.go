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

// TestRoom fills the stream TTY: output may use all of the space, while new sessions, readiness and
// ends keep a part of it free.
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
	// until fills the stream until only this much space is left, with a tolerance of one message.
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
	if err := b.Ready(t.Context()); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "sessions can't be started: there is no space to record it: the stream TTY has ") {
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

// TestRoomWithoutLimit: without a limit of the stream, the capacity is that of the disk.
func TestRoomWithoutLimit(t *testing.T) {
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

// TestPurgeByRole: each role removes delivered messages of the stream that it reads, with the
// permissions of the configuration for operators.
func TestPurgeByRole(t *testing.T) {
	s := serve(t, "nats/nkeys.conf", nil)
	as := func(user string, role Role) *Bus {
		t.Helper()
		b, err := Open(t.Context(), options(s, user, role))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	gateway, enrich, router := as("gateway", RoleGateway), as("enrich", RoleEnrich), as("router", RoleRouter)
	for n := range 3 {
		if _, err := gateway.PublishChunk("tty.0.default.web.1", fmt.Sprint("1-", n), []byte("x")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := enrich.PublishSegment("logs.0.default.web.1", uint64(n), 1, false, []byte("x")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		bus             *Bus
		stream, subject string
	}{{enrich, schema.StreamTTY, "tty.0.default.web.1"}, {router, schema.StreamLogs, "logs.0.default.web.1"}} {
		first, err := test.bus.FirstUnread(t.Context(), test.stream, []string{test.subject}, 1, 3)
		if err != nil || first != 2 {
			t.Errorf("%s: the first unread is %d, %v", test.stream, first, err)
		}
		last, ok, err := test.bus.Last(t.Context(), test.stream, test.subject)
		if err != nil || !ok {
			t.Fatalf("%s: %v", test.stream, err)
		}
		if err := test.bus.Purge(t.Context(), test.stream, test.subject, last.Sequence); err != nil {
			t.Error(err)
		}
		if u, err := test.bus.Usage(t.Context(), test.stream); err != nil || u.First != 3 || u.Last != 3 {
			t.Errorf("%s has %+v, %v", test.stream, u, err)
		}
	}
	if err := gateway.Purge(t.Context(), schema.StreamTTY, "tty.0.default.web.1", 3); !IsRefused(err) {
		t.Errorf("a gateway removes messages: %v", err)
	}
}
