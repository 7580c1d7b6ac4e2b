package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
)

// A SkipError is returned for a rewind forward that would skip undelivered records.
type SkipError struct {
	Drain   string
	Records uint64
	AtLeast bool // there are more
}

func (e *SkipError) Error() string {
	atLeast := ""
	if e.AtLeast {
		atLeast = "at least "
	}
	records := "records"
	if e.Records == 1 {
		records = "record"
	}
	return fmt.Sprintf("the rewind would skip %s%d undelivered %s of drain %s: use --skip to deliver gap records instead",
		atLeast, e.Records, records, e.Drain)
}

// A RewindPlan holds the consequences of a rewind.
type RewindPlan struct {
	// Redelivered is the number of records that the drain has and would get again.
	Redelivered uint64 `json:"redelivered"`
	// Skipped is the number of undelivered records for which it would get gap records instead.
	Skipped uint64 `json:"skipped"`
	// AtLeast means that there are more: counting them takes too long.
	AtLeast bool `json:"at_least,omitempty"`
}

// PlanRewindToTime returns what RewindToTime would do.
func (o *Operator) PlanRewindToTime(ctx context.Context, name string, at time.Time) (RewindPlan, error) {
	after, err := o.Bus.BeforeTime(ctx, at)
	if err != nil {
		return RewindPlan{}, err
	}
	return o.plan(ctx, name, after)
}

// PlanRewindToOperation returns what RewindToOperation would do.
func (o *Operator) PlanRewindToOperation(ctx context.Context, name, operation string) (RewindPlan, error) {
	after, err := o.Bus.BeforeOperation(ctx, operation)
	if err != nil {
		return RewindPlan{}, err
	}
	return o.plan(ctx, name, after)
}

func (o *Operator) plan(ctx context.Context, name string, after uint64) (p RewindPlan, err error) {
	d, err := o.find(name)
	if err != nil {
		return p, err
	}
	err = o.checkSkip(ctx, d, after)
	if skip, ok := errors.AsType[*SkipError](err); ok {
		p.Skipped, p.AtLeast = skip.Records, skip.AtLeast
	} else if err != nil {
		return p, err
	}
	records, atLeast, err := o.total(func(partition int, until time.Time) (uint64, bool, error) {
		return o.delivered(ctx, d, partition, after, until)
	})
	p.Redelivered, p.AtLeast = records, p.AtLeast || atLeast
	return p, err
}

// total adds up the records that count finds in each partition until a time.
func (o *Operator) total(count func(partition int, until time.Time) (uint64, bool, error)) (records uint64, atLeast bool, err error) {
	until := time.Now().Add(drain.CountTimeout)
	for partition := range o.Bus.Partitions() {
		n, more, err := count(partition, until)
		if err != nil {
			return records, atLeast, err
		}
		records += n
		atLeast = atLeast || more
	}
	return records, atLeast, nil
}

// delivered counts the delivered records of a partition after a sequence. It stops counting at a
// time.
func (o *Operator) delivered(ctx context.Context, d *drain.Drain, partition int, after uint64, until time.Time) (records uint64, atLeast bool, err error) {
	p, _, err := o.Bus.Progress(ctx, drain.LeaseName(d.Name, partition))
	if err != nil || p.Reached <= after {
		return 0, false, err
	}
	err = drain.CountHeads(ctx, o.Bus, d.Filters(partition), after, func(m bus.Message) bool {
		if m.Sequence > p.Reached {
			return false
		}
		if d.PHI || !m.PHI {
			records += m.Records
		}
		atLeast = m.Pending > 0 && !time.Now().Before(until)
		return !atLeast
	})
	return records, atLeast, err
}

// RewindToTime redelivers the records that were enriched at a time or later. If the drain lacks
// earlier records, it returns a [*SkipError]; with skip, they become gaps.
func (o *Operator) RewindToTime(ctx context.Context, name string, at time.Time, skip bool) error {
	after, err := o.Bus.BeforeTime(ctx, at)
	if err != nil {
		return err
	}
	return o.rewind(ctx, name, after, skip)
}

// RewindToOperation redelivers everything from an operation's first record on, including the
// records of other operations. skip is that of RewindToTime.
func (o *Operator) RewindToOperation(ctx context.Context, name, operation string, skip bool) error {
	after, err := o.Bus.BeforeOperation(ctx, operation)
	if err != nil {
		return err
	}
	return o.rewind(ctx, name, after, skip)
}

func (o *Operator) rewind(ctx context.Context, name string, after uint64, skip bool) error {
	d, err := o.find(name)
	if err != nil {
		return err
	}
	if !skip {
		if err := o.checkSkip(ctx, d, after); err != nil {
			return err
		}
	}
	return o.Bus.ChangeDrainControl(ctx, name, func(c *schema.DrainControl) {
		c.Rewind = bus.NextRewind(after)
		c.Rewind.Skip = skip
	})
}

const (
	// checkSkip looks up to skipTries times, skipWait apart, for undelivered records: workers save
	// their positions up to half of skipWait after the drain has acknowledged the records.
	skipTries = 5
	skipWait  = 500 * time.Millisecond
)

// checkSkip returns a [*SkipError] if a drain lacks records up to a sequence.
func (o *Operator) checkSkip(ctx context.Context, d *drain.Drain, after uint64) error {
	refused := &SkipError{Drain: d.Name}
	for try := range skipTries {
		if try > 0 {
			timer := time.NewTimer(skipWait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return context.Cause(ctx)
			}
		}
		var err error
		refused.Records, refused.AtLeast, err = o.total(func(partition int, until time.Time) (uint64, bool, error) {
			return o.lacking(ctx, d, partition, after, until)
		})
		if err != nil {
			return err
		}
		if refused.Records == 0 {
			return nil
		}
	}
	return refused
}

// lacking counts the undelivered records of a partition up to a sequence. It stops counting at a
// time.
func (o *Operator) lacking(ctx context.Context, d *drain.Drain, partition int, after uint64, until time.Time) (records uint64, atLeast bool, err error) {
	p, _, err := o.Bus.Progress(ctx, drain.LeaseName(d.Name, partition))
	if err != nil || p.Reached >= after {
		return 0, false, err
	}
	ahead := make(map[uint64]uint64) // records delivered ahead of the position, by sequence
	for _, part := range p.DeliveredAhead {
		ahead[part.Sequence] = uint64(part.Records)
	}
	err = drain.CountHeads(ctx, o.Bus, d.Filters(partition), p.Reached, func(m bus.Message) bool {
		if m.Sequence > after {
			return false
		}
		if d.PHI || !m.PHI {
			records += m.Records - min(m.Records, ahead[m.Sequence])
		}
		atLeast = m.Pending > 0 && !time.Now().Before(until)
		return !atLeast
	})
	return records, atLeast, err
}
