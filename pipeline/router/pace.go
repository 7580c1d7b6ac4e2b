package router

import (
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks"
)

const (
	// entryWeight is the approximate size of a record in a request beside its log and its text.
	entryWeight = 1024
	// defaultWriteTimeout is the timeout of a drain that states none.
	defaultWriteTimeout = 30 * time.Second
	// ceilingAge is the time after which a size is tried again that the drain refused.
	ceilingAge = 10 * time.Minute
)

// weigh returns the approximate size of an entry in a request.
func weigh(e sinks.Entry) int { return entryWeight + len(e.Record.Log) + len(e.Record.Text) }

func weighAll(entries []sinks.Entry) (weight int) {
	for _, e := range entries {
		weight += weigh(e)
	}
	return weight
}

// A pace adapts the size of writes to the drain: half as much after a timeout, more while writes
// end early. A receiver of any speed finishes such a write, while one of a fixed size might time
// out and be retried forever. The drain's workers share it.
type pace struct {
	timeout time.Duration // of one write
	maximum int           // weight that no write exceeds anyway

	mu      sync.Mutex // guards what follows
	limit   int        // weight of one write; 0: no limit
	largest int        // weight that the drain accepted in one write
	ceiling int        // weight that the drain refused for its size; 0: none
	until   time.Time  // when ceiling expires
	late    int        // timeouts in a row without progress
}

func newPace(d *drain.Drain) *pace {
	p := &pace{timeout: d.Timeout, maximum: 4 * d.BatchBytes}
	if p.timeout == 0 {
		p.timeout = defaultWriteTimeout
	}
	return p
}

// bytes returns the limit, but at most atMost.
func (p *pace) bytes(atMost int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 {
		return atMost
	}
	return min(p.limit, atMost)
}

// fit returns how many of the entries may be written at once: at least one.
func (p *pace) fit(entries []sinks.Entry) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 {
		return len(entries)
	}
	weight := 0
	for n, e := range entries {
		if weight += weigh(e); weight > p.limit && n > 0 {
			return n
		}
	}
	return len(entries)
}

// accepted adapts the limit to a write that the drain acknowledged. It grows when the write took
// less than a quarter of the timeout, and shrinks when it took more than half.
func (p *pace) accepted(weight int, took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.largest, p.late = max(p.largest, weight), 0
	switch {
	case took > p.timeout/2:
		p.limit = max(entryWeight, weight-weight/4)
	case p.limit != 0 && weight > p.limit/2 && took < p.timeout/4:
		p.limit *= 2
	}
	p.cap(now)
}

// timedOut halves the limit after a write of which the drain acknowledged only a part in time.
// After the next timeout in a row it is a quarter: the drain may still process the earlier writes,
// and each retry repeats them.
func (p *pace) timedOut(weight, confirmed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = max(entryWeight, weight/2)
	if p.late++; p.late > 1 {
		p.limit = max(entryWeight, weight/4)
	}
	if confirmed > 0 {
		p.late = 0
		p.limit = min(p.limit, max(confirmed, weight/16))
	}
}

// tooLarge limits writes after one that the drain refused as a whole and accepted in parts. If the
// drain has accepted clearly more at once before, the size was not the cause.
func (p *pace) tooLarge(weight int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if weight+weight/2 <= p.largest {
		return
	}
	p.ceiling, p.until = weight, now.Add(ceilingAge)
	p.cap(now)
}

// cap applies the ceiling and the maximum. The caller holds mu.
func (p *pace) cap(now time.Time) {
	if p.ceiling != 0 && now.After(p.until) {
		p.ceiling = 0
	}
	if p.ceiling != 0 {
		if lower := max(entryWeight, p.ceiling/2); p.limit == 0 || p.limit > lower {
			p.limit = lower
		}
		return
	}
	if p.limit >= p.maximum {
		p.limit = 0
	}
}
