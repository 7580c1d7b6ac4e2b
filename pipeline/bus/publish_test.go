package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

func wait(t testing.TB, p *Publish) uint64 {
	t.Helper()
	sequence, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

func TestRepeatedChunkIsStoredOnce(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	const subject = "tty.0.default.web.1"
	first := wait(t, b.PublishChunk(subject, "1-0", []byte("a")))
	wait(t, b.PublishChunk(subject, "1-1", []byte("b")))
	if again := wait(t, b.PublishChunk(subject, "1-0", []byte("a"))); again != first {
		t.Errorf("stored at %d, then at %d", first, again)
	}
	if end, err := b.End(t.Context(), schema.StreamTTY); err != nil || end != 2 {
		t.Errorf("the end is %d, %v", end, err)
	}
}

func TestFenced(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	checkFences(t, b, 1)
}

// checkFences checks that of several publishers that expect the same last message exactly one
// succeeds, or sometimes none if minStored is 0.
func checkFences(t *testing.T, b *Bus, minStored int) {
	t.Helper()
	const subject = "logs.0.default.web.1"
	store := func(subject string, last uint64, data string) (sequence uint64) {
		waittest.Until(t, data+" is stored", func() bool {
			var err error
			sequence, err = b.PublishSegment(subject, last, 1, false, []byte(data)).Wait(t.Context())
			if err != nil && (minStored > 0 || !errors.Is(err, ErrFenced)) {
				t.Fatal(err)
			}
			return err == nil
		})
		return sequence
	}
	first := store(subject, 0, "first")
	store("logs.0.default.web.2", 0, "another operation")
	second := store(subject, first, "second")
	for _, stale := range []uint64{0, first, second + 1} {
		if _, err := b.PublishSegment(subject, stale, 1, false, []byte("stale")).Wait(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("published after %d, where the last is %d: %v", stale, second, err)
		}
	}
	// Simultaneously, too.
	last := second
	for round := range 20 {
		var all []*Publish
		for i := range 5 {
			all = append(all, b.PublishSegment(subject, last, 1, false, fmt.Appendf(nil, "round %d, %d", round, i)))
		}
		stored := 0
		after := last
		for _, p := range all {
			sequence, err := p.Wait(t.Context())
			switch {
			case err == nil:
				stored++
				after = sequence
			case !errors.Is(err, ErrFenced):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if stored > 1 || stored < minStored {
			t.Fatalf("round %d: %d were stored", round, stored)
		}
		last = after
	}
	// On a cluster, the responding server may learn of it slightly later than those that acknowledged
	// it.
	waittest.Until(t, "the last is the last that was stored", func() bool {
		m, ok, err := b.Last(t.Context(), schema.StreamLogs, subject)
		if err != nil || !ok || m.Sequence > last || m.Sequence < last && minStored > 0 {
			t.Fatalf("the last is %d, %t, %v; expected %d", m.Sequence, ok, err, last)
		}
		return m.Sequence == last
	})
}

// limit sets a stream's maximum size, as an operator would.
func limit(t testing.TB, b *Bus, stream string, bytes int64) {
	t.Helper()
	config := b.streams[stream].CachedInfo().Config
	config.MaxBytes = bytes
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	limit(t, b, schema.StreamTTY, 64<<10)
	const subject = "tty.0.default.web.1"
	data := bytes.Repeat([]byte("x"), 10<<10)
	stored := 0
	var err error
	for i := 0; err == nil && i < 100; i++ {
		if _, err = b.PublishChunk(subject, strconv.Itoa(i), data).Wait(t.Context()); err == nil {
			stored++
		}
	}
	if !errors.Is(err, ErrFull) || stored < 3 {
		t.Fatalf("%d were stored, then: %v", stored, err)
	}
	// No old messages were deleted for it, and the refused one can be repeated with its ID when there
	// is space.
	first, ok, err := b.Next(t.Context(), schema.StreamTTY, subject, 0)
	if err != nil || !ok || first != 1 {
		t.Errorf("the first is %d, %t, %v", first, ok, err)
	}
	limit(t, b, schema.StreamTTY, 1<<20)
	if sequence := wait(t, b.PublishChunk(subject, strconv.Itoa(stored), data)); sequence != uint64(stored+1) {
		t.Errorf("stored %d, then sequence %d", stored, sequence)
	}
	// The operator's limit is kept.
	b.Close()
	b = open(t, dir, 1)
	if got := b.streams[schema.StreamTTY].CachedInfo().Config.MaxBytes; got != 1<<20 {
		t.Errorf("the limit is %d after a new start", got)
	}
}

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		code jetstream.ErrorCode
		want error
	}{
		{10071, ErrFenced}, {10164, ErrFenced},
		{10077, ErrFull}, {10047, ErrFull}, {10028, ErrFull}, {10023, ErrFull}, {10002, ErrFull},
		{10054, nil},
	} {
		err := fmt.Errorf("wrapped: %w", &jetstream.APIError{ErrorCode: test.code, Description: "a test"})
		got := classify(err)
		for _, kind := range []error{ErrFenced, ErrFull} {
			if errors.Is(got, kind) != (kind == test.want) {
				t.Errorf("%d is %v", test.code, got)
			}
		}
	}
}

func TestPublishRefused(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	if _, err := b.PublishChunk("elsewhere", "1", nil).Wait(t.Context()); err == nil {
		t.Error("published to no stream")
	}
	if _, err := b.PublishChunk("tty.0.default.web.1", "1", make([]byte, maxPayload+1)).Wait(t.Context()); err == nil {
		t.Error("published a message that is too large")
	}
	why := errors.New("a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	b.embedded.stop()
	if _, err := b.PublishChunk("tty.0.default.web.1", "2", nil).Wait(ctx); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestDeadLetterIsStoredOnce(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	op := newOperation()
	op.ID = "1"
	letter := func(drain string, sequence uint64) *schema.DeadLetter {
		r := &schema.Record{Sequence: sequence, Log: []byte("line\n"), Text: []byte("line")}
		l, err := schema.NewDeadLetter(drain, "a test", 400, time.Unix(1, 0), op, r)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, l := range []*schema.DeadLetter{letter("siem", 1), letter("siem", 2), letter("siem", 1), letter("search", 1)} {
		if err := b.PublishDeadLetter(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if end, err := b.End(t.Context(), schema.StreamDeadLetter); err != nil || end != 3 {
		t.Errorf("%d dead letters, %v", end, err)
	}
	m, ok, err := b.Last(t.Context(), schema.StreamDeadLetter, schema.SubjectDeadLetter(letter("siem", 2)))
	if err != nil || !ok || m.Sequence != 2 || !bytes.Contains(m.Data, []byte(`"reason":"a test"`)) {
		t.Errorf("%+v, %t, %v", m, ok, err)
	}
}
