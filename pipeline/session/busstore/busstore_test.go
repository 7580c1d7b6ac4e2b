package busstore

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

var (
	_ session.Store     = Store{}
	_ session.Publisher = Store{}
	_ session.Slots     = Store{}
)

func open(t *testing.T) Store {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Sync: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return New(b, nil)
}

// TestChunks: published chunks are read in order, and an end is stored only after the chunk that it
// names.
func TestChunks(t *testing.T) {
	s := open(t)
	op := &schema.Operation{App: "web", Stack: "default", Started: time.Unix(1, 0).UTC()}
	if err := s.CreateOperation(t.Context(), op); err != nil || op.ID == "" {
		t.Fatalf("operation %q, %v", op.ID, err)
	}
	subject := s.Subject(op)
	for _, id := range []string{"one", "two", "two"} { // the last one is a repeat
		if err := s.Publish(subject, id, []byte(id)).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var chunks []string
	var last uint64
	read := func() {
		t.Helper()
		chunks = nil
		if err := s.LastChunks(t.Context(), subject, func(sequence uint64, data []byte) error {
			chunks, last = append(chunks, string(data)), sequence
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if !slices.Equal(chunks, []string{"one", "two"}) {
		t.Errorf("chunks %q", chunks)
	}
	if err := s.PublishEnd(subject, last-1, []byte("late")).Wait(t.Context()); err == nil {
		t.Error("an end was stored after a chunk that it does not name")
	}
	if err := s.PublishEnd(subject, last, []byte("end")).Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if read(); !slices.Equal(chunks, []string{"one", "two", "end"}) {
		t.Errorf("chunks %q", chunks)
	}
	if room, err := s.Room(t.Context()); err != nil || room.Free == 0 {
		t.Errorf("room %+v, %v", room, err)
	}
}

func TestSlots(t *testing.T) {
	s := open(t)
	mine, other := &schema.Slot{Stack: "default", Number: 1, Holder: "1"}, &schema.Slot{Stack: "default", Number: 1, Holder: "2"}
	revision, err := s.CreateSlot(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSlot(t.Context(), other); !errors.Is(err, session.ErrSlotTaken) || !errors.Is(err, bus.ErrSlotTaken) {
		t.Errorf("a slot that another session has: %v", err)
	}
	if _, err := s.UpdateSlot(t.Context(), other, revision+1); !errors.Is(err, session.ErrSlotTaken) {
		t.Errorf("renewed at another revision: %v", err)
	}
	if err := s.DeleteSlot(t.Context(), other, revision+1); !errors.Is(err, session.ErrSlotTaken) {
		t.Errorf("deleted at another revision: %v", err)
	}
	if revision, err = s.UpdateSlot(t.Context(), mine, revision); err != nil {
		t.Error(err)
	}
	if err := s.DeleteSlot(t.Context(), mine, revision); err != nil {
		t.Error(err)
	}
}

func TestTranslate(t *testing.T) {
	other := errors.New("other")
	for _, test := range []struct{ err, want error }{
		{nil, nil},
		{other, other},
		{fmt.Errorf("publish: %w", bus.ErrFull), session.ErrFull},
		{fmt.Errorf("create: %w", bus.ErrSlotTaken), session.ErrSlotTaken},
	} {
		if got := translate(test.err); !errors.Is(got, test.want) || !errors.Is(got, test.err) || (got == nil) != (test.want == nil) {
			t.Errorf("%v became %v", test.err, got)
		}
	}
}
