package schema

import (
	"fmt"
	"slices"
)

// BucketGaps holds the gaps that drains have not been sent yet: [DrainGaps] by drain, partition and
// operation.
const BucketGaps = "gaps"

// Gap is a run of consecutive records of an operation that a drain never receives, because they
// expired from the LOGS stream or because an operator skipped them.
type Gap struct {
	// First and Last are the sequences of the first and the last missing record.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Offset is the offset of the first missing record, End the session's byte count after the
	// last.
	Offset uint64 `json:"offset"`
	End    uint64 `json:"end"`
	// Time is the time of the first missing record, in nanoseconds since 1970 UTC.
	Time int64 `json:"time"`
	// Digest and TextDigest are those of the last missing record; nil if unknown.
	Digest     []byte `json:"digest,omitempty"`
	TextDigest []byte `json:"text_digest,omitempty"`
	// Uncertain reports that the drain may have some of the records.
	Uncertain bool `json:"uncertain,omitempty"`
	// Skipped reports that an operator moved the drain past the records.
	Skipped bool `json:"skipped,omitempty"`
}

// GapOf returns the gap that consists of one record.
func GapOf(r *Record) Gap {
	return Gap{
		First: r.Sequence, Last: r.Sequence, Offset: r.Offset, End: r.Offset + r.Span(), Time: r.Time,
		Digest: slices.Clone(r.Digest[:]), TextDigest: slices.Clone(r.TextDigest[:]),
	}
}

// GapSkipped is the reason of a gap of records that an operator skipped.
const GapSkipped = "an operator moved the drain past them (drains rewind --skip)"

// Record returns the gap record that the drain receives instead of the missing records. It exists
// only in that drain's copy: the session's sequences and digests do not include it. Unknown digests
// are zero.
func (g *Gap) Record() *Record {
	missing := g.End - g.Offset
	r := &Record{
		Event: EventGap, Sequence: g.First, Offset: g.Offset, Time: g.Time,
		Detail: &Detail{Bytes: &missing, Reason: "the drain was not there for longer than the streams keep data", LastSequence: g.Last, Uncertain: g.Uncertain},
	}
	copy(r.Digest[:], g.Digest)
	copy(r.TextDigest[:], g.TextDigest)
	if g.Skipped {
		r.Detail.Reason = GapSkipped
	}
	if g.Uncertain {
		r.Detail.Reason = "the streams keep them no longer, and nothing was there to note which of them the drain has"
		r.Text = fmt.Appendf(nil, "of records %d to %d (%d bytes) those that did not come before are missing: %s", g.First, g.Last, missing, r.Detail.Reason)
		return r
	}
	r.Text = fmt.Appendf(nil, "records %d to %d (%d bytes) are missing here: %s", g.First, g.Last, missing, r.Detail.Reason)
	return r
}

// DrainGaps holds the gaps of one operation in a drain's copy that the drain has not been sent yet.
type DrainGaps struct {
	Operation *Operation `json:"operation"`
	// Gaps are in the order of the operation; adjacent runs are merged.
	Gaps []Gap `json:"gaps"`
	// Through is the sequence on LOGS up to which the operation's segments were examined: records in
	// them that are not in Gaps are not missing.
	Through uint64 `json:"through"`
	// Pending holds gaps that count only once the drain's position has committed them; nil for none.
	Pending *PendingGaps `json:"pending,omitempty"`
}

// PendingGaps holds the gaps that one abandonment of undelivered segments wrote before it moved the
// drain's position. The move commits them: it stores Until under Epoch in the position. If the
// writer stops before the move, the gaps do not count, and the segments are delivered or abandoned
// again.
type PendingGaps struct {
	// Epoch is the writer's tenure of the position's lease, as a revision of the position.
	Epoch uint64 `json:"epoch"`
	// From and Until are sequences on LOGS: the segments after From, up to and including Until, were
	// examined.
	From  uint64 `json:"from"`
	Until uint64 `json:"until"`
	Gaps  []Gap  `json:"gaps"`
}

// Commit moves the pending gaps into Gaps.
func (d *DrainGaps) Commit() {
	if d.Pending == nil {
		return
	}
	for _, g := range d.Pending.Gaps {
		d.Gaps, _ = appendGap(d.Gaps, g)
	}
	d.Through, d.Pending = max(d.Through, d.Pending.Until), nil
}

// Add appends a gap to the pending ones and reports whether it starts a new run. A gap that
// continues the last run extends it.
func (p *PendingGaps) Add(g Gap) (own bool) {
	p.Gaps, own = appendGap(p.Gaps, g)
	return own
}

func appendGap(gaps []Gap, g Gap) (_ []Gap, own bool) {
	if n := len(gaps); n > 0 {
		last := &gaps[n-1]
		if last.Last+1 == g.First && last.Uncertain == g.Uncertain && last.Skipped == g.Skipped {
			last.Last, last.End, last.Digest, last.TextDigest = g.Last, g.End, g.Digest, g.TextDigest
			return gaps, false
		}
	}
	return append(gaps, g), true
}
