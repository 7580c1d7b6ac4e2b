package gateway

import (
	"cmp"
	"container/heap"
	"net/netip"
	"time"
)

// offence is a reason for a penalty.
type offence string

const (
	crashed       offence = "crash"
	authFailed    offence = "authfail"
	notTried      offence = "noauth"
	graceExceeded offence = "grace_exceeded"
)

// duration returns the penalty for an offence.
func (p *Penalties) duration(o offence) time.Duration {
	switch o {
	case crashed:
		return p.Crash
	case authFailed:
		return p.AuthFail
	case notTried:
		return p.NoAuth
	case graceExceeded:
		return p.GraceExceeded
	}
	return 0
}

// penalty is the accumulated penalty of a source.
type penalty struct {
	source netip.Prefix
	expiry time.Time
	active bool // it has reached Penalties.Min: the source is refused until expiry
	index  int  // in the table's heap
}

// penaltyTable holds the penalties of the sources of one address family, like srclimit.c of
// OpenSSH. The zero value is empty. The caller must hold a lock.
type penaltyTable struct {
	bySource map[netip.Prefix]*penalty
	byExpiry penaltyHeap
}

// punish adds an offence's penalty to its source, and reports whether the source is refused from
// now on and was not before. At most limit sources are remembered: those whose penalties end first
// are forgotten.
func (t *penaltyTable) punish(source netip.Prefix, o offence, p *Penalties, limit int, now time.Time) (refused bool) {
	t.expire(now)
	d := p.duration(o)
	entry := t.bySource[source]
	if entry == nil {
		if t.bySource == nil {
			t.bySource = make(map[netip.Prefix]*penalty)
		}
		entry = &penalty{source: source, expiry: now}
		t.bySource[source] = entry
		heap.Push(&t.byExpiry, entry)
	}
	entry.expiry = entry.expiry.Add(d)
	if latest := now.Add(p.Max); entry.expiry.After(latest) {
		entry.expiry = latest
	}
	heap.Fix(&t.byExpiry, entry.index)
	if !entry.active && entry.expiry.Sub(now) > p.Min {
		entry.active, refused = true, true
	}
	for len(t.byExpiry) > limit {
		t.forget()
	}
	return refused
}

// refuses reports whether a source is refused.
func (t *penaltyTable) refuses(source netip.Prefix, now time.Time) bool {
	t.expire(now)
	entry := t.bySource[source]
	return entry != nil && entry.active
}

func (t *penaltyTable) expire(now time.Time) {
	for len(t.byExpiry) > 0 && !t.byExpiry[0].expiry.After(now) {
		t.forget()
	}
}

// forget removes the penalty that ends first.
func (t *penaltyTable) forget() {
	delete(t.bySource, heap.Pop(&t.byExpiry).(*penalty).source)
}

// penaltyHeap has the penalty that ends first at its top.
type penaltyHeap []*penalty

func (h penaltyHeap) Len() int { return len(h) }
func (h penaltyHeap) Less(i, j int) bool {
	return cmp.Or(h[i].expiry.Compare(h[j].expiry), h[i].source.Addr().Compare(h[j].source.Addr())) < 0
}
func (h penaltyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *penaltyHeap) Push(x any) {
	entry := x.(*penalty)
	entry.index = len(*h)
	*h = append(*h, entry)
}
func (h *penaltyHeap) Pop() any {
	last := len(*h) - 1
	entry := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return entry
}
