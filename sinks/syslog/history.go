package syslog

import (
	"slices"
	"time"
)

// maxSuspect is the maximum number of bytes of batches before the last one that are kept. It is
// more than a kernel buffers for a program that does not read (net.ipv4.tcp_rmem).
const maxSuspect = 8 << 20

// A history holds the batches that the drain's kernel has acknowledged, and whose connection has
// not been open for the grace time since: the server may have stopped before it read them, or the
// load balancer that accepted the connection had no server.
type history struct {
	grace   time.Duration
	batches []sent // the oldest first
}

type sent struct {
	data []byte // the framed messages; owned by the history
	at   time.Time
}

// add adds a delivered batch, and returns a buffer that is no longer needed; nil for none.
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

// keep removes the batches that are proven, since their connection was open at this time. Like add,
// it returns a buffer.
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

// resent notes that all batches were redelivered on another connection.
func (h *history) resent(now time.Time) {
	for i := range h.batches {
		h.batches[i].at = now
	}
}

// empty reports whether there are no batches.
func (h *history) empty() bool { return len(h.batches) == 0 }

// forget removes all batches.
func (h *history) forget() { h.drop(len(h.batches)) }

// pieces returns the batches, the oldest first.
func (h *history) pieces() (all [][]byte) {
	for _, b := range h.batches {
		all = append(all, b.data)
	}
	return all
}
