package bus

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

var allStreams = []string{schema.StreamTTY, schema.StreamLogs, schema.StreamDeadLetter}

func mustKeep(t *testing.T, b *Bus, want time.Duration) {
	t.Helper()
	for _, name := range allStreams {
		info, err := b.streams[name].Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c := info.Config; c.MaxAge != want || c.Duplicates > want || c.Metadata[partitionsKey] != "3" {
			t.Errorf("the stream %s keeps data for %s, recognises repeats for %s, and has %s partitions", name, c.MaxAge, c.Duplicates, c.Metadata[partitionsKey])
		}
	}
	if b.Retention() != want || b.Partitions() != 3 {
		t.Errorf("the bus keeps data for %s in %d partitions", b.Retention(), b.Partitions())
	}
}

// TestRetentionOfStreamsThatExist: it follows the setting, and all else stays.
func TestRetentionOfStreamsThatExist(t *testing.T) {
	dir := t.TempDir()
	for i, keep := range []time.Duration{0, time.Minute, 24 * time.Hour, 24 * time.Hour, 0} {
		b, err := Open(t.Context(), Options{Store: dir, Sync: time.Hour, Partitions: 3 + i, Retention: keep, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		want := keep
		if keep == 0 {
			want = Retention
		}
		mustKeep(t, b, want)
		subject := fmt.Sprintf("logs.0.default.web.%d", i)
		if _, err := b.PublishSegment(subject, 0, 1, false, []byte("x")).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if n, err := b.Count(t.Context(), schema.StreamLogs, []string{"logs.>"}, 0); err != nil || n != uint64(i+1) {
			t.Errorf("%d messages, %v; want %d", n, err, i+1)
		}
		b.Close()
	}
}

// TestHeads: they say how many records there are, and no more.
func TestHeads(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	for i := range 3 {
		if _, err := b.PublishSegment(fmt.Sprintf("logs.0.default.web.%d", i), 0, 10+i, i == 1, []byte("content")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.ReadHeads(t.Context(), schema.StreamLogs, []string{schema.FilterLogs(0, "", "")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n := r.Pending(); n != 3 {
		t.Errorf("%d messages are pending", n)
	}
	for i := range 3 {
		m, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Records != uint64(10+i) || m.PHI != (i == 1) || len(m.Data) != 0 || m.Sequence != uint64(i+1) {
			t.Errorf("message %d is %+v", i, m)
		}
	}
}

func TestGaps(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	gaps := func(operation string, first uint64) *schema.DrainGaps {
		return &schema.DrainGaps{Operation: &schema.Operation{ID: operation}, Gaps: []schema.Gap{{First: first, Last: first + 1, Digest: []byte{1, 2}}}, Through: 9}
	}
	for _, g := range []*schema.DrainGaps{gaps("1", 1), gaps("2", 5), gaps("1", 3)} {
		if err := b.SaveGaps(t.Context(), "a drain", 0, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SaveGaps(t.Context(), "a drain", 1, gaps("3", 1)); err != nil {
		t.Fatal(err)
	}
	b.Close() // they are on the disk
	b = open(t, dir, 1)
	if all, err := b.Gaps(t.Context(), "a drain", 0); err != nil || len(all) != 2 {
		t.Errorf("the gaps are %+v, %v", all, err)
	}
	if g, ok, err := b.OperationGaps(t.Context(), "a drain", 0, "1"); err != nil || !ok || g.Gaps[0].First != 3 || g.Through != 9 || g.Operation.ID != "1" {
		t.Errorf("the gaps of an operation are %+v, %t, %v", g, ok, err)
	}
	if err := b.DeleteGaps(t.Context(), "a drain", 0, "1"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := b.OperationGaps(t.Context(), "a drain", 0, "1"); err != nil || ok {
		t.Errorf("gaps that were told are still there: %v", err)
	}
	if all, err := b.Gaps(t.Context(), "a drain", 0); err != nil || len(all) != 1 || all[0].Operation.ID != "2" {
		t.Errorf("the gaps are %+v, %v", all, err)
	}
}

// TestRetentionWithoutTheRight: a role that may not change streams takes them as they are, and who may, does.
func TestRetentionWithoutTheRight(t *testing.T) {
	s := serve(t, "nats/nkeys.conf", nil)
	o := options(s, "router", RoleRouter)
	o.Retention = time.Hour
	for i, want := range []time.Duration{Retention, time.Hour} {
		b, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Retention(); got != want {
			t.Errorf("the streams keep data for %s, want %s", got, want)
		}
		b.Close()
		if i > 0 {
			continue
		}
		admin := options(s, "admin", 0)
		admin.Retention = o.Retention
		for _, result := range []string{"updated", "unchanged"} {
			done, err := Apply(t.Context(), admin)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range done {
				if want := a.Name == schema.StreamTTY || a.Name == schema.StreamLogs || a.Name == schema.StreamDeadLetter; want && a.Result != result {
					t.Errorf("the stream %s is %s, want %s", a.Name, a.Result, result)
				}
			}
		}
	}
}
