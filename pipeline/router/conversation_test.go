package router

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// shortly returns a rig whose streams keep data for some seconds. Undelivered records are abandoned
// at a quarter of that age, which leaves the rest of the time to a slow machine.
func shortly(t *testing.T, keep time.Duration) *rig {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Sync: time.Hour, Retention: keep, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &rig{t: t, bus: b, key: testKey(t), margin: keep - keep/16}
}

// begin starts the rig, and waits until its drains are not new any more: a new drain has no gaps
// about earlier records.
func (g *rig) begin() {
	g.t.Helper()
	g.start()
	for _, d := range g.drains {
		waittest.Until(g.t, "the drain "+d.Name+" has begun", func() bool {
			p, _, err := g.bus.Progress(g.t.Context(), drain.LeaseName(d.Name, 0))
			return err == nil && !p.Safe.IsZero()
		})
	}
}

// A conversation is a session whose output the test controls.
type conversation struct {
	g    *rig
	op   *schema.Operation
	next schema.Chunk
}

func (g *rig) converse(app string) *conversation {
	g.t.Helper()
	doc, err := document(g.key)(schema.User{ID: "u-1"})
	if err != nil {
		g.t.Fatal(err)
	}
	c := &conversation{g: g, op: &schema.Operation{App: app, Stack: "default", User: schema.User{ID: "u-1"}, UserDocument: doc, PHI: app == "clinic", Started: time.Now()}}
	if err := g.bus.CreateOperation(g.t.Context(), c.op); err != nil {
		g.t.Fatal(err)
	}
	start, err := schema.StartFrame(time.Now(), c.op)
	if err != nil {
		g.t.Fatal(err)
	}
	c.publish(start)
	return c
}

func (c *conversation) publish(f schema.Frame) {
	c.g.t.Helper()
	c.next.Frames = []schema.Frame{f}
	id := fmt.Sprintf("%s-%d", c.op.ID, c.next.Ordinal)
	if _, err := c.g.bus.PublishChunk(schema.SubjectTTY(c.op, c.g.bus.Partitions()), id, schema.AppendChunk(nil, &c.next)).Wait(c.g.t.Context()); err != nil {
		c.g.t.Fatal(err)
	}
	c.next.Ordinal++
	if f.Kind == schema.FrameStdout {
		c.next.Offset[0] += uint64(len(f.Payload))
	} else {
		c.next.Events++
	}
}

// say outputs lines.
func (c *conversation) say(lines ...string) {
	c.g.t.Helper()
	for _, l := range lines {
		c.publish(schema.Frame{Kind: schema.FrameStdout, Time: time.Now().UnixNano(), Payload: []byte(l + "\r\n")})
	}
}

func (c *conversation) end() {
	c.g.t.Helper()
	end, err := schema.DetailFrame(schema.FrameEnd, time.Now(), &schema.Detail{Reason: "exit"})
	if err != nil {
		c.g.t.Fatal(err)
	}
	c.publish(end)
}

// arrived waits until a sink has the last record of an operation, or a gap instead of it.
func (s *memorySink) arrived(t testing.TB, op *schema.Operation, last uint64) {
	t.Helper()
	waittest.Until(t, fmt.Sprintf("record %d of operation %s arrives", last, op.ID), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.got[op.ID], func(r schema.Record) bool { return r.Sequence == last && !isGap(&r) })
	})
}

// isGap reports whether a record is a gap record.
func isGap(r *schema.Record) bool { return r.Detail != nil && r.Detail.LastSequence != 0 }

// noted waits until the gap note of an operation includes a record.
func (g *rig) noted(drain string, op *schema.Operation, sequence uint64) bus.GapNote {
	g.t.Helper()
	var noted bus.GapNote
	waittest.Until(g.t, fmt.Sprintf("record %d of operation %s is given up", sequence, op.ID), func() bool {
		var err error
		if noted, _, err = g.bus.OperationGaps(g.t.Context(), drain, 0, op.ID); err != nil {
			g.t.Fatal(err)
		}
		return slices.ContainsFunc(noted.Gaps, func(gap schema.Gap) bool { return gap.First <= sequence && sequence <= gap.Last })
	})
	return noted
}

// removed waits until the LOGS stream has removed all current segments. Meanwhile the open sessions
// have output: the retention has to be longer than any silence of a session.
func (g *rig) removed(open ...*conversation) {
	g.t.Helper()
	var said time.Time
	end, err := g.bus.End(g.t.Context(), schema.StreamLogs)
	if err != nil {
		g.t.Fatal(err)
	}
	waittest.Until(g.t, "the stream removes what it has", func() bool {
		begin, err := g.bus.Begin(g.t.Context(), schema.StreamLogs)
		if err != nil {
			g.t.Fatal(err)
		}
		if time.Since(said) > g.bus.Retention()/8 {
			for _, c := range open {
				c.say("still there")
			}
			said = time.Now()
		}
		return begin > end
	})
}

// records returns the records of an operation so far.
func (s *memorySink) records(op *schema.Operation) []schema.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got[op.ID])
}

// covers fails the test unless the records that a sink has of an operation, together with those in
// gaps, are the records of another sink, each once and in order. It returns the sequences in gaps.
func (s *memorySink) covers(t testing.TB, op *schema.Operation, whole *memorySink) (missing []uint64) {
	t.Helper()
	all, got := whole.records(op), s.records(op)
	next := uint64(1)
	inGap := make(map[uint64]bool)
	for i := range got {
		r := &got[i]
		if r.Sequence < next && (inGap[r.Sequence] || !isGap(r) && !slices.Contains(missing, r.Sequence)) {
			continue // a repeat
		}
		if r.Sequence != next {
			t.Fatalf("operation %s: %s %d came where %d was to come", op.ID, r.Event, r.Sequence, next)
		}
		if !isGap(r) {
			if string(r.Log) != string(all[r.Sequence-1].Log) {
				t.Fatalf("operation %s: record %d is another", op.ID, r.Sequence)
			}
			next++
			continue
		}
		inGap[r.Sequence] = true
		first, last := &all[r.Sequence-1], &all[r.Detail.LastSequence-1]
		if r.Event != schema.EventGap || r.Detail.Uncertain || r.Offset != first.Offset || r.Time != first.Time || r.Offset+r.Span() != last.Offset+last.Span() ||
			r.Digest != last.Digest || r.TextDigest != last.TextDigest || r.Detail.Reason == "" || len(r.Text) == 0 {
			t.Fatalf("operation %s: the gap from %d to %d is %+v with %+v", op.ID, first.Sequence, last.Sequence, *r, *r.Detail)
		}
		if claim := claimOf(t, r.Detail.Signature); claim.Drain == "" || claim != schema.ClaimOf(op.ID, claim.Drain, r) {
			t.Fatalf("operation %s: the gap from %d to %d is signed as %+v", op.ID, first.Sequence, last.Sequence, claim)
		}
		for ; next <= last.Sequence; next++ {
			missing = append(missing, next)
		}
	}
	if int(next) != len(all)+1 {
		t.Fatalf("operation %s: %d of %d records are accounted for", op.ID, next-1, len(all))
	}
	return missing
}

// claimOf decodes the signature of a gap, without verification.
func claimOf(t testing.TB, signature string) (claim schema.GapClaim) {
	t.Helper()
	parts := strings.Split(signature, ".")
	if len(parts) != 3 {
		t.Fatalf("the gap has the signature %q", signature)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claim)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// counted returns the value of a metric of a drain.
func (g *rig) counted(c prometheus.Collector, drain string) (sum float64) {
	g.t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "drain" && label.GetValue() == drain {
					sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

// from returns the numbers from first to last.
func from(first, last uint64) (numbers []uint64) {
	for ; first <= last; first++ {
		numbers = append(numbers, first)
	}
	return numbers
}

// mustMiss fails the test unless a sink lacks exactly these records of an operation.
func (s *memorySink) mustMiss(t testing.TB, op *schema.Operation, whole *memorySink, want []uint64) {
	t.Helper()
	if missing := s.covers(t, op, whole); !slices.Equal(missing, want) {
		t.Errorf("operation %s: missing are %v, want %v", op.ID, missing, want)
	}
}

// refuse returns a function that fails every write, with a temporary failure, while down is set.
func refuse(down *atomic.Bool) func([]sinks.Entry) error {
	return func([]sinks.Entry) error {
		if down.Load() {
			return &sinks.Error{Verdict: sinks.Retry, Reason: "connection refused"}
		}
		return nil
	}
}
