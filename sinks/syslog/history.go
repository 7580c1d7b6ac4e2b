package syslog

import (
	"slices"
	"time"
)

// maxSuspect is how many bytes of batches before the last one are kept, which is more than a
// kernel keeps for a program that does not read (net.ipv4.tcp_rmem).
const maxSuspect = 8 << 20

// A history has the batches that the drain's kernel has acknowledged, and whose connection has not
// been open for the grace time since: the server can have ended before it read them, or there was
// none behind the load balancer that accepted the connection.
type history struct {
	grace   time.Duration
	batches []sent // the oldest first
}

type sent struct {
	data []byte // the framed messages; owned by the history
	at   time.Time
}

// add takes a delivered batch, and returns a buffer that is not needed any more; nil for none.
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

// keep forgets the batches that are proven by a connection that was open at the given time. It
// returns a buffer as add does.
func (h *history) keep(now time.Time) (spare []byte) {
	n := 0
	for n < len(h.batches) && now.Sub(h.batches[n].at) > h.grace {
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

// resent notes that all batches were delivered again, on another connection.
func (h *history) resent(now time.Time) {
	for i := range h.batches {
		h.batches[i].at = now
	}
}

// empty reports whether nothing is to be sent again.
func (h *history) empty() bool { return len(h.batches) == 0 }

// forget forgets everything.
func (h *history) forget() { h.drop(len(h.batches)) }

// pieces returns the batches, the oldest first.
func (h *history) pieces() (all [][]byte) {
	for _, b := range h.batches {
		all = append(all, b.data)
	}
	return all
}
