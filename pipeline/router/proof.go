package router

import (
	"sync"
	"time"
)

// A proof is the evidence that a drain accepts records with its present settings: a changed drain
// has a new one. It distinguishes the refusal of one record from the refusal of everything. The
// drain's workers share it.
type proof struct {
	mu      sync.Mutex    // guards what follows
	count   uint64        // writes that the drain accepted, including probe records
	at      time.Time     // when it accepted the last one
	spent   int           // dead letters since then
	real    bool          // it has accepted a session's record
	letters int           // dead letters since it accepted a session's record
	useful  time.Time     // when it accepted a session's record last; zero: never
	barren  int           // dead letters rejectingTime or longer after that
	changed chan struct{} // closed when a write is accepted
}

func newProof() *proof { return &proof{changed: make(chan struct{})} }

// accepted notes that the drain accepted a session's records or, if real is false, a probe record.
func (p *proof) accepted(now time.Time, real bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.at, p.spent = now, 0
	if real {
		p.real, p.letters = true, 0
		p.useful, p.barren = now, 0
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
	// At most spareLetters consecutive records become dead letters on the evidence of one accepted
	// write, within spareTime.
	spareLetters = 5
	spareTime    = 10 * time.Second
	// maxLettersUnproven and maxLetters bound how many records in a row become dead letters while the
	// drain accepts probe records and no session's: before it has accepted any session's record, and
	// afterwards. A drain that refuses more than that refuses what all records have in common.
	maxLettersUnproven = 10
	maxLetters         = 1000
	// A drain is rejecting when it has accepted no session's record for rejectingTime, and
	// rejectingLetters since then became dead letters. Refused records of a write of which it
	// accepted others do not count, or a quiet drain would stay rejecting because of them.
	rejectingTime    = time.Minute
	rejectingLetters = 5
)

// spare reports whether a record may become a dead letter on the same evidence as the one before
// it.
func (p *proof) spare(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent < spareLetters && now.Sub(p.at) < spareTime
}

// mayBlameOperation reports whether a refusal may have its cause in what an operation's records
// have in common, such as the user's name: the drain has accepted a session's record, and few have
// become dead letters since.
func (p *proof) mayBlameOperation() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.real && p.letters < maxLettersUnproven
}

// mayGiveUp reports whether another record may become a dead letter.
func (p *proof) mayGiveUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.real {
		return p.letters < maxLetters
	}
	return p.letters < maxLettersUnproven
}

// gaveUp notes that a record became a dead letter.
func (p *proof) gaveUp(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.letters++
	p.spent++
	if now.Sub(p.useful) >= rejectingTime {
		p.barren++
	}
}

// rejecting reports whether the records of sessions become dead letters, and none is accepted.
func (p *proof) rejecting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.barren >= rejectingLetters
}
