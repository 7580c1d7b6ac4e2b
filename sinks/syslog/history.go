package syslog

import (
	"slices"
	"time"
)

const (
	// suspectFor is how long before a connection's end a batch was delivered that is sent again: a
	// server that lives reads what it gets much sooner.
	suspectFor = 5 * time.Second
	// maxSuspect is how many bytes of batches before the last one are kept, which is more than a
	// kernel keeps for a program that does not read (net.ipv4.tcp_rmem).
	maxSuspect = 8 << 20
)

// A history has the batches that were delivered a short time ago: the drain's kernel had them, but
// its server can have ended before it read them.
type history struct {
	batches []sent // the oldest first
}

type sent struct {
	data []byte // the framed messages; owned by the history
	at   time.Time
}

// add takes a delivered batch, and gives a buffer that is not needed any more; nil for none.
func (h *history) add(data []byte, now time.Time) (spare []byte) {
	spare = h.keep(now)
	h.batches = append(h.batches, sent{data, now})
	size, n := 0, 0
	for _, b := range h.batches {
		size += len(b.data)
	}
	for n < len(h.batches)-1 && size > maxSuspect {
		size -= len(h.batches[n].data)
		n++
	}
	if dropped := h.drop(n); spare == nil {
		spare = dropped
	}
	return spare
}

// keep forgets the batches for which the time was over at the given one, and gives a buffer as add does.
func (h *history) keep(now time.Time) (spare []byte) {
	n := 0
	for n < len(h.batches) && now.Sub(h.batches[n].at) > suspectFor {
		n++
	}
	return h.drop(n)
}

func (h *history) drop(n int) (spare []byte) {
	if n > 0 && cap(h.batches[n-1].data) <= maxKept {
		spare = h.batches[n-1].data
	}
	h.batches = slices.Delete(h.batches, 0, n)
	return spare
}

// forget forgets everything.
func (h *history) forget() { h.drop(len(h.batches)) }

// pieces are the batches, the oldest first.
func (h *history) pieces() (all [][]byte) {
	for _, b := range h.batches {
		all = append(all, b.data)
	}
	return all
}
