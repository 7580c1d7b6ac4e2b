package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
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
			t.Errorf("the stream %s keeps data for %s, detects repeats for %s, and has %s partitions", name, c.MaxAge, c.Duplicates, c.Metadata[partitionsKey])
		}
	}
	if b.Retention() != want || b.Partitions() != 3 {
		t.Errorf("the bus keeps data for %s in %d partitions", b.Retention(), b.Partitions())
	}
}

// TestRetentionOfExistingStreams: the retention follows the setting, and all other properties are
// kept.
func TestRetentionOfExistingStreams(t *testing.T) {
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

// TestHeads: heads contain the number of records, and nothing else.
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
	gaps := func(operation string, first uint64) *GapNote {
		return &GapNote{DrainGaps: schema.DrainGaps{
			Operation: &schema.Operation{ID: operation}, Gaps: []schema.Gap{{First: first, Last: first + 1, Digest: []byte{1, 2}}}, Through: 9,
			Pending: &schema.PendingGaps{Epoch: 3, From: 9, Until: 11, Gaps: []schema.Gap{{First: 8, Last: 9}}},
		}}
	}
	for _, g := range []*GapNote{gaps("1", 1), gaps("2", 5)} {
		if err := b.SaveGaps(t.Context(), "a drain", 0, g); err != nil {
			t.Fatal(err)
		}
		g.Gaps[0].First++
		if err := b.SaveGaps(t.Context(), "a drain", 0, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SaveGaps(t.Context(), "a drain", 1, gaps("3", 1)); err != nil {
		t.Fatal(err)
	}
	b.Close() // stored on the disk
	b = open(t, dir, 1)
	if all, err := b.Gaps(t.Context(), "a drain", 0); err != nil || len(all) != 2 {
		t.Errorf("the gaps are %+v, %v", all, err)
	}
	g, ok, err := b.OperationGaps(t.Context(), "a drain", 0, "1")
	if want := (*gaps("1", 2)).DrainGaps; err != nil || !ok || g.Gaps[0].First != 2 || !reflect.DeepEqual(g.Pending, want.Pending) || g.Through != 9 || g.Operation.ID != "1" {
		t.Errorf("the gaps of an operation are %+v, %t, %v", g, ok, err)
	}
	if err := b.DeleteGaps(t.Context(), "a drain", 0, &g); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := b.OperationGaps(t.Context(), "a drain", 0, "1"); err != nil || ok {
		t.Errorf("gaps that were told are still there: %v", err)
	}
	if all, err := b.Gaps(t.Context(), "a drain", 0); err != nil || len(all) != 1 || all[0].Operation.ID != "2" {
		t.Errorf("the gaps are %+v, %v", all, err)
	}
}

// TestGapsAreFenced: a worker that has not noticed the end of its lease neither changes nor deletes
// its successor's gaps, whether the entry existed before or not.
func TestGapsAreFenced(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	empty := func(operation string) *GapNote {
		n, ok, err := b.OperationGaps(t.Context(), "d", 0, operation)
		if err != nil || ok {
			t.Fatalf("operation %s has gaps: %v", operation, err)
		}
		n.Operation = &schema.Operation{ID: operation}
		return &n
	}
	save := func(n *GapNote, last uint64) error {
		n.Gaps = []schema.Gap{{First: 1, Last: last}}
		return b.SaveGaps(t.Context(), "d", 0, n)
	}
	stale, created := empty("7"), empty("8")
	if err := save(stale, 3); err != nil {
		t.Fatal(err)
	}
	current, ok, err := b.OperationGaps(t.Context(), "d", 0, "7")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := b.DeleteGaps(t.Context(), "d", 0, &current); err != nil {
		t.Fatal(err)
	}
	for _, operation := range []string{"7", "8"} {
		if err := save(empty(operation), 6); err != nil {
			t.Fatal(err)
		}
	}
	for what, err := range map[string]error{
		"save of a deleted note":  save(stale, 4),
		"delete":                  b.DeleteGaps(t.Context(), "d", 0, stale),
		"create of what is there": save(created, 4),
	} {
		if !errors.Is(err, ErrLeaseLost) {
			t.Errorf("%s: %v, want ErrLeaseLost", what, err)
		}
	}
	all, err := b.Gaps(t.Context(), "d", 0)
	if err != nil || len(all) != 2 || all[0].Gaps[0].Last != 6 || all[1].Gaps[0].Last != 6 {
		t.Errorf("the gaps are %+v, %v", all, err)
	}
}

// TestAbandonCommits: the losses of a lease's epoch become part of the position with the same
// write, also after others have held the lease.
func TestAbandonCommits(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	var epochs []uint64
	for i := range uint64(maxAbandonments + 2) {
		l, err := b.Acquire(t.Context(), "drain.d.0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Progress().Abandoned.Committed(l.Epoch(), 1) || len(epochs) > 0 && l.Epoch() <= epochs[len(epochs)-1] {
			t.Fatalf("the epoch %d after %v", l.Epoch(), epochs)
		}
		epochs = append(epochs, l.Epoch())
		for _, at := range []uint64{10*i + 5, 10*i + 7} {
			if err := l.Abandon(t.Context(), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Save(t.Context(), 10*i+9); err != nil {
			t.Fatal(err)
		}
		l.Release()
	}
	p, _, err := b.Progress(t.Context(), "drain.d.0")
	if err != nil || len(p.Abandoned) != maxAbandonments {
		t.Fatalf("the position is %+v, %v", p, err)
	}
	for i, epoch := range epochs {
		kept := i >= len(epochs)-maxAbandonments
		if last := uint64(10*i + 7); !p.Abandoned.Committed(epoch, last) || p.Abandoned.Committed(epoch, last+1) == kept {
			t.Errorf("of the epoch %d, %d: %+v", epoch, last, p.Abandoned)
		}
	}
	if p.Abandoned.Committed(epochs[len(epochs)-1]+1, 1) {
		t.Error("an epoch without losses has committed something")
	}
}

// TestRetentionWithoutPermission: a role that may not change streams accepts them unchanged, and
// one that may changes them.
func TestRetentionWithoutPermission(t *testing.T) {
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
