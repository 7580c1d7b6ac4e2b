package syslog

import "time"

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
	data    []byte // the framed messages; owned by the history
	batches []sent // what data consists of, oldest first
}

type sent struct {
	size int
	at   time.Time
}

// add notes a delivered batch.
func (h *history) add(data []byte, now time.Time) {
	h.keep(now)
	h.data = append(h.data, data...)
	h.batches = append(h.batches, sent{len(data), now})
	drop, size := 0, 0
	for drop < len(h.batches)-1 && len(h.data)-size > maxSuspect {
		size += h.batches[drop].size
		drop++
	}
	h.drop(drop, size)
}

// keep forgets the batches for which the time was over at the given one.
func (h *history) keep(now time.Time) {
	drop, size := 0, 0
	for drop < len(h.batches) && now.Sub(h.batches[drop].at) > suspectFor {
		size += h.batches[drop].size
		drop++
	}
	h.drop(drop, size)
}

func (h *history) drop(batches, size int) {
	h.batches = append(h.batches[:0], h.batches[batches:]...)
	h.data = append(h.data[:0], h.data[size:]...)
	if cap(h.data) > maxKept && len(h.data) < maxKept/2 {
		h.data = append([]byte(nil), h.data...)
	}
}

// forget forgets everything.
func (h *history) forget() { h.drop(len(h.batches), len(h.data)) }
