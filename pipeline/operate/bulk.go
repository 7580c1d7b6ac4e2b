package operate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// bulkTime is the time after which an operation on many dead letters returns. The caller
	// continues it, so that no request lasts as long as the number of letters.
	bulkTime = 3 * time.Second
	// maxFailures is the maximum number of different failures in a result.
	maxFailures = 20
)

// A LetterGroup counts the dead letters of one drain with one reason.
type LetterGroup struct {
	Drain   string    `json:"drain"`
	Reason  string    `json:"reason"`
	Status  int       `json:"status,omitempty"` // of the newest
	Letters uint64    `json:"letters"`
	Oldest  time.Time `json:"oldest"`
	Newest  time.Time `json:"newest"`
}

// LetterCounts are the selected dead letters by drain and reason, the most first.
type LetterCounts struct {
	Groups []LetterGroup `json:"groups"`
	// Last is the greatest number of a dead letter that was counted; 0 if there is none.
	Last uint64 `json:"last"`
	// Next is the number after which to continue counting; 0 if all were counted.
	Next uint64 `json:"next,omitempty"`

	places map[[2]string]int // in Groups, by drain and reason; nil after sort
}

// CountDeadLetters counts the selected dead letters for some seconds.
func (o *Operator) CountDeadLetters(ctx context.Context, f LetterFilter) (c LetterCounts, err error) {
	c.Groups = []LetterGroup{}
	c.Next, err = o.each(ctx, f, time.Now().Add(bulkTime), func(number uint64, l *schema.DeadLetter) bool {
		c.Last = number
		c.add(LetterGroup{Drain: l.Drain, Reason: l.Reason, Status: l.Status, Letters: 1, Oldest: l.Time, Newest: l.Time})
		return true
	})
	c.sort()
	return c, err
}

// Add adds the counts of the letters after those of c.
func (c *LetterCounts) Add(more *LetterCounts) {
	for _, g := range more.Groups {
		c.add(g)
	}
	c.Last, c.Next = max(c.Last, more.Last), more.Next
	c.sort()
}

func (c *LetterCounts) add(more LetterGroup) {
	if c.places == nil { // there may be as many reasons as letters
		c.places = make(map[[2]string]int)
		for i, g := range c.Groups {
			c.places[[2]string{g.Drain, g.Reason}] = i
		}
	}
	of := [2]string{more.Drain, more.Reason}
	i, ok := c.places[of]
	if !ok {
		c.places[of] = len(c.Groups)
		c.Groups = append(c.Groups, more)
		return
	}
	g := &c.Groups[i]
	g.Letters += more.Letters
	if more.Oldest.Before(g.Oldest) {
		g.Oldest = more.Oldest
	}
	if !more.Newest.Before(g.Newest) {
		g.Newest, g.Status = more.Newest, more.Status
	}
}

func (c *LetterCounts) sort() {
	c.places = nil
	slices.SortStableFunc(c.Groups, func(a, b LetterGroup) int {
		if a.Letters != b.Letters {
			return int(b.Letters) - int(a.Letters)
		}
		return strings.Compare(a.Drain+"\x00"+a.Reason, b.Drain+"\x00"+b.Reason)
	})
}

// A BulkResult is the result of an operation on many dead letters.
type BulkResult struct {
	Done     uint64        `json:"done"`
	Failed   uint64        `json:"failed"`
	Failures []BulkFailure `json:"failures"`
	// Next is the number after which to continue; 0 if the operation is complete.
	Next uint64 `json:"next,omitempty"`
}

// A BulkFailure is an error of dead letters, which remain.
type BulkFailure struct {
	Drain   string `json:"drain"`
	Error   string `json:"error"`
	Letters uint64 `json:"letters"`
	First   uint64 `json:"first"` // the number of the first of them
}

// RedeliverAll redelivers the selected dead letters for some seconds: see [Operator.Redeliver]. A
// letter that fails remains, and does not stop the others.
func (o *Operator) RedeliverAll(ctx context.Context, f LetterFilter) (result BulkResult, err error) {
	r := redeliverer{operator: o}
	defer func() { err = errors.Join(err, r.close()) }()
	return o.bulk(ctx, f, r.redeliver)
}

// DiscardAll removes the selected dead letters for some seconds. A letter that fails remains, and
// does not stop the others.
func (o *Operator) DiscardAll(ctx context.Context, f LetterFilter) (BulkResult, error) {
	return o.bulk(ctx, f, o.Discard)
}

// bulk calls do for each of the selected dead letters. One that is gone already counts as done by
// another call, which makes it safe to repeat a request.
func (o *Operator) bulk(ctx context.Context, f LetterFilter, do func(context.Context, uint64) error) (result BulkResult, err error) {
	result.Failures = []BulkFailure{}
	result.Next, err = o.each(ctx, f, time.Now().Add(bulkTime), func(number uint64, l *schema.DeadLetter) bool {
		switch err := do(ctx, number); {
		case err == nil:
			result.Done++
		case errors.Is(err, ErrNotFound):
		default:
			result.Failed++
			result.addFailure(BulkFailure{Drain: l.Drain, Error: err.Error(), Letters: 1, First: number})
		}
		return ctx.Err() == nil
	})
	return result, err
}

// Add adds the result of the continued operation.
func (r *BulkResult) Add(more *BulkResult) {
	r.Done += more.Done
	r.Failed += more.Failed
	r.Next = more.Next
	for _, f := range more.Failures {
		r.addFailure(f)
	}
}

func (r *BulkResult) addFailure(more BulkFailure) {
	i := slices.IndexFunc(r.Failures, func(f BulkFailure) bool { return f.Drain == more.Drain && f.Error == more.Error })
	switch {
	case i >= 0:
		r.Failures[i].Letters += more.Letters
	case len(r.Failures) < maxFailures:
		r.Failures = append(r.Failures, more)
	}
}
