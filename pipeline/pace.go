package pipeline

import (
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

const (
	// entryWeight is about how many bytes a record has in a request beside its log and its text.
	entryWeight = 1024
	// defaultWriteTimeout is taken for the timeout of a drain that states none.
	defaultWriteTimeout = 30 * time.Second
	// A size that the drain refused is tried again after ceilingLasts.
	ceilingLasts = 10 * time.Minute
)

// weigh returns about how many bytes an entry has in a request.
func weigh(e sinks.Entry) int { return entryWeight + len(e.Record.Log) + len(e.Record.Text) }

func weighAll(entries []sinks.Entry) (weight int) {
	for _, e := range entries {
		weight += weigh(e)
	}
	return weight
}

// A pace limits how much is written to a drain at once to what the drain takes: half as much after
// a timeout, more again while writes end early. A receiver of any speed finishes a write that way,
// where one of a fixed size would time out and be sent again for ever. It is shared by the drain's
// workers.
type pace struct {
	timeout time.Duration // of one write
	most    int           // weight that no write exceeds anyway

	mu      sync.Mutex // guards what follows
	limit   int        // weight of one write; 0: no limit
	largest int        // weight that the drain accepted in one write
	ceiling int        // weight that the drain refused for its size; 0: none
	until   time.Time  // when ceiling is forgotten
	late    int        // timeouts in a row without progress
}

func newPace(d *Drain) *pace {
	p := &pace{timeout: d.Timeout, most: 4 * d.BatchBytes}
	if p.timeout == 0 {
		p.timeout = defaultWriteTimeout
	}
	return p
}

// bytes returns the limit, or most where there is none or it is higher.
func (p *pace) bytes(most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 {
		return most
	}
	return min(p.limit, most)
}

// fit returns how many of the entries, which are not none, may be written at once.
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

// accepted adapts the limit to a write that the drain confirmed. Below a quarter of the timeout
// there is room for more; above half of it, less leaves a margin.
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

// timedOut halves the limit after a write of which the drain confirmed so much, and not all, in
// time. After the next timeout in a row it is a quarter: the drain may still process the earlier
// writes, and every one is a repeat for it.
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

// tooLarge limits writes after one that the drain refused as a whole and accepted in parts. Where
// the drain has accepted clearly more at once before, it was not the size.
func (p *pace) tooLarge(weight int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if weight+weight/2 <= p.largest {
		return
	}
	p.ceiling, p.until = weight, now.Add(ceilingLasts)
	p.cap(now)
}

// cap is for those who hold mu.
func (p *pace) cap(now time.Time) {
	if p.ceiling != 0 && now.After(p.until) {
		p.ceiling = 0
	}
	if p.ceiling != 0 {
		if most := max(entryWeight, p.ceiling/2); p.limit == 0 || p.limit > most {
			p.limit = most
		}
		return
	}
	if p.limit >= p.most {
		p.limit = 0
	}
}
