package schema

import (
	"fmt"
	"slices"
)

// BucketGaps has what drains miss and were not told yet: [DrainGaps] by drain, partition and operation.
const BucketGaps = "gaps"

// A Gap is a run of consecutive records of an operation that a drain never gets, because the LOGS stream keeps them
// no longer.
type Gap struct {
	// First and Last are the sequences of the first and the last record that is missing.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Offset is that of the first, End the number of the session's bytes up to the end of the last.
	Offset uint64 `json:"offset"`
	End    uint64 `json:"end"`
	// Time is the first's, in nanoseconds since 1970 UTC.
	Time int64 `json:"time"`
	// Digest and TextDigest are the last's; nil where nobody knows them.
	Digest     []byte `json:"digest,omitempty"`
	TextDigest []byte `json:"text_digest,omitempty"`
	// Uncertain says that the drain may have some of them.
	Uncertain bool `json:"uncertain,omitempty"`
}

// GapOf is the gap of one record.
func GapOf(r *Record) Gap {
	return Gap{
		First: r.Sequence, Last: r.Sequence, Offset: r.Offset, End: r.Offset + r.Span(), Time: r.Time,
		Digest: slices.Clone(r.Digest[:]), TextDigest: slices.Clone(r.TextDigest[:]),
	}
}

// Record is the record that tells the drain of the gap, in the place of those that are missing. It is of that drain's
// copy alone: the session's sequences and digests are without it. Where the digests are not known, they are zero.
func (g *Gap) Record() *Record {
	missing := g.End - g.Offset
	r := &Record{
		Event: EventGap, Sequence: g.First, Offset: g.Offset, Time: g.Time,
		Detail: &Detail{Bytes: &missing, Reason: "the drain was not there for longer than the streams keep data", LastSequence: g.Last, Uncertain: g.Uncertain},
	}
	copy(r.Digest[:], g.Digest)
	copy(r.TextDigest[:], g.TextDigest)
	if g.Uncertain {
		r.Detail.Reason = "the streams keep them no longer, and nothing was there to note which of them the drain has"
		r.Text = fmt.Appendf(nil, "of records %d to %d (%d bytes) those that did not come before are missing: %s", g.First, g.Last, missing, r.Detail.Reason)
		return r
	}
	r.Text = fmt.Appendf(nil, "records %d to %d (%d bytes) are missing here: %s", g.First, g.Last, missing, r.Detail.Reason)
	return r
}

// DrainGaps is what a drain misses of an operation.
type DrainGaps struct {
	Operation *Operation `json:"operation"`
	// Gaps are in the order of the operation, and don't touch.
	Gaps []Gap `json:"gaps"`
	// Through is the sequence on LOGS up to which the operation's segments were looked at: what is in them and not
	// in Gaps is no gap.
	Through uint64 `json:"through"`
}

// Add adds a gap behind the others, and says whether it is one of its own: one that goes on where the last one
// ends becomes a part of that.
func (d *DrainGaps) Add(g Gap) (own bool) {
	if n := len(d.Gaps); n > 0 {
		last := &d.Gaps[n-1]
		if last.Last+1 == g.First && last.Uncertain == g.Uncertain {
			last.Last, last.End, last.Digest, last.TextDigest = g.Last, g.End, g.Digest, g.TextDigest
			return false
		}
	}
	d.Gaps = append(d.Gaps, g)
	return true
}
