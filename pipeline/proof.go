package pipeline

import (
	"sync"
	"time"
)

// A proof is the evidence that a drain accepts records with its present settings: it is made anew
// when they change. It distinguishes the refusal of a record from that of everything. It is shared
// by the drain's workers.
type proof struct {
	mu      sync.Mutex    // guards what follows
	count   uint64        // writes that the drain accepted, of probe records too
	at      time.Time     // when it accepted the last one
	spent   int           // dead letters since then
	real    bool          // it has accepted a session's record
	letters int           // dead letters since it accepted a session's record
	changed chan struct{} // closed when a write is accepted
}

func newProof() *proof { return &proof{changed: make(chan struct{})} }

// accepted notes that the drain accepted a session's records or, where real is false, a probe
// record.
func (p *proof) accepted(now time.Time, real bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.at, p.spent = now, 0
	if real {
		p.real, p.letters = true, 0
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// get returns the number of accepted writes, and a channel that is closed at the next one.
func (p *proof) get() (count uint64, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.changed
}

const (
	// Up to spareLetters consecutive records become dead letters by the evidence of one accepted
	// write, within spareTime.
	spareLetters = 5
	spareTime    = 10 * time.Second
)

// spare reports whether a record may become a dead letter by the same evidence as the one before
// it.
func (p *proof) spare(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent < spareLetters && now.Sub(p.at) < spareTime
}

const (
	// lettersUnproven and lettersMost bound how many records in a row become dead letters while the
	// drain accepts probe records and no session's: before it has accepted one of a session at all,
	// and afterwards. A drain that refuses more than that refuses what all records have in common.
	lettersUnproven = 10
	lettersMost     = 1000
)

// mayBlameOperation reports whether a refusal may be because of what an operation's records have in
// common, such as the user's name: the drain has accepted a session's record, and not too many have
// become dead letters since.
func (p *proof) mayBlameOperation() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.real && p.letters < lettersUnproven
}

// mayGiveUp reports whether another record may become a dead letter.
func (p *proof) mayGiveUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.real {
		return p.letters < lettersMost
	}
	return p.letters < lettersUnproven
}

// gaveUp notes that a record became a dead letter.
func (p *proof) gaveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.letters++
	p.spent++
}
