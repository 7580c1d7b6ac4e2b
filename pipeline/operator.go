package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// ErrUnknownDrain is returned for a drain that is not configured here.
var ErrUnknownDrain = errors.New("no drain has this name")

// ErrNotThere is returned for an operation or a dead letter that is not there, or not any more.
var ErrNotThere = bus.ErrNotThere

// ErrNoAgreement is returned for a record that may be protected health information, and a drain
// that may not have such.
var ErrNoAgreement = errors.New("the record may be protected health information, and the drain has no agreement for it")

// An Operator does with the drains what people want done. Any process that knows the drains can do
// it: what is wanted goes through the bus to the workers, wherever they are.
type Operator struct {
	Bus    *bus.Bus
	Drains []Drain // at first: see Update

	updated atomic.Pointer[[]Drain] // by Update; nil before
}

// Update makes these the drains, as [Router.Update] does. What is being done goes on with those
// before.
func (o *Operator) Update(drains []Drain) { o.updated.Store(&drains) }

func (o *Operator) drains() []Drain {
	if updated := o.updated.Load(); updated != nil {
		return *updated
	}
	return o.Drains
}

// A DrainStatus is how a drain stands.
type DrainStatus struct {
	Name string `json:"name"`
	// State is the worst of its workers', "paused" where that is wanted, "gone" where the drain says
	// that it has ceased to exist, or "unattended" where no worker tells.
	State string `json:"state"`
	// LagRecords are recorded and not delivered, in LagSegments messages of the stream. They are
	// counted one by one; LagAtLeast says that this is going on, and that there are more.
	LagRecords  uint64 `json:"lag_records"`
	LagAtLeast  bool   `json:"lag_at_least,omitempty"`
	LagSegments uint64 `json:"lag_segments"`
	// LagSeconds is how long ago the first of them was shown.
	LagSeconds  float64   `json:"lag_seconds"`
	Delivered   uint64    `json:"delivered"`
	Rate        float64   `json:"records_per_second"`
	DeadLetters uint64    `json:"dead_letters"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// NextTry is when a drain that fails is tried again; zero where it does not wait for that.
	NextTry time.Time `json:"next_try,omitzero"`
}

// Unattended is the state of a drain for which no worker tells how it stands.
const Unattended = "unattended"

func (o *Operator) find(name string) (*Drain, error) {
	drains := o.drains()
	i := slices.IndexFunc(drains, func(d Drain) bool { return d.Name == name })
	if i < 0 {
		var names []string
		for _, d := range drains {
			names = append(names, d.Name)
		}
		return nil, fmt.Errorf("%q: %w: there are %s", name, ErrUnknownDrain, strings.Join(names, ", "))
	}
	return &drains[i], nil
}

// List tells how all drains stand, in the order of the configuration.
func (o *Operator) List(ctx context.Context) ([]DrainStatus, error) {
	states, err := o.Bus.DrainStates(ctx)
	if err != nil {
		return nil, err
	}
	drains := o.drains()
	until := time.Now().Add(CountTimeout)
	list := make([]DrainStatus, 0, len(drains))
	for _, d := range drains {
		status := DrainStatus{Name: d.Name, State: Unattended}
		told := make(map[int]bool) // by partition
		for _, s := range states {
			if s.Drain != d.Name {
				continue
			}
			told[s.Partition] = true
			if slices.Index(States, s.State) > slices.Index(States, status.State) {
				status.State = s.State
			}
			status.LagRecords += s.LagRecords
			status.LagAtLeast = status.LagAtLeast || s.LagAtLeast
			status.LagSegments += s.LagSegments
			status.LagSeconds = max(status.LagSeconds, s.LagSeconds)
			status.Delivered += s.Delivered
			status.Rate += s.Rate
			if !s.NextTry.IsZero() && (status.NextTry.IsZero() || s.NextTry.Before(status.NextTry)) {
				status.NextTry = s.NextTry
			}
			if s.LastErrorAt.After(status.LastErrorAt) {
				status.LastError, status.LastErrorAt = s.LastError, s.LastErrorAt
			}
		}
		for partition := range o.Bus.Partitions() {
			if told[partition] {
				continue
			}
			l, err := d.Lag(ctx, o.Bus, partition, until)
			if ctx.Err() != nil {
				return nil, err
			}
			if err != nil { // the other drains are listed all the same
				status.LastError, status.LastErrorAt, l.AtLeast = err.Error(), time.Now().UTC(), true
			}
			status.LagRecords += l.Records
			status.LagAtLeast = status.LagAtLeast || l.AtLeast
			status.LagSegments += l.Segments
			status.LagSeconds = max(status.LagSeconds, l.Seconds(time.Now()))
		}
		control, err := o.Bus.DrainControl(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		if control.Paused {
			status.State = schema.DrainPaused
		}
		if control.Paused || control.Gone != nil {
			status.NextTry = time.Time{}
		}
		if g := control.Gone; g != nil {
			status.State = schema.DrainGone
			if !status.LastErrorAt.After(g.At) {
				status.LastError, status.LastErrorAt = g.Reason, g.At
			}
		}
		if status.DeadLetters, err = o.Bus.CountDeadLetters(ctx, d.Name); err != nil {
			return nil, err
		}
		list = append(list, status)
	}
	return list, nil
}

// Pause makes a drain's workers stop, or go on, and lasts over restarts. What is recorded meanwhile
// waits in the stream. A drain that was gone is tried again when its workers are to go on.
func (o *Operator) Pause(ctx context.Context, name string, paused bool) error {
	if _, err := o.find(name); err != nil {
		return err
	}
	return o.Bus.ChangeDrainControl(ctx, name, func(c *schema.DrainControl) {
		if c.Paused = paused; !paused {
			c.Gone = nil
		}
	})
}

// A Letter is a dead letter with its number, and the record in it.
type Letter struct {
	Number uint64 `json:"number"`
	// PHI says that the record may hold protected health information. Lists leave it out.
	PHI bool `json:"phi,omitempty"`
	*schema.DeadLetter
}

// DeadLetters lists the dead letters of a drain ("": of all), the oldest first, max of them at
// most, without the records.
func (o *Operator) DeadLetters(ctx context.Context, drain string, max int) ([]Letter, error) {
	letters := []Letter{}
	enough := errors.New("enough")
	err := o.Bus.DeadLetters(ctx, drain, func(number uint64, l *schema.DeadLetter) error {
		l.Segment = nil // what was on the screen is for who asks for the one letter
		letters = append(letters, Letter{Number: number, DeadLetter: l})
		if len(letters) == max {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return letters, nil
}

// DeadLetter gives one dead letter, and the JSON of its record.
func (o *Operator) DeadLetter(ctx context.Context, number uint64) (Letter, []byte, error) {
	l, entry, err := o.open(ctx, number)
	if err != nil {
		return Letter{}, nil, err
	}
	var encoder schema.Encoder
	record, err := encoder.AppendRecord(nil, entry.Operation, entry.Record)
	return Letter{number, entry.Operation.PHI, l}, record, err
}

func (o *Operator) open(ctx context.Context, number uint64) (*schema.DeadLetter, sinks.Entry, error) {
	l, err := o.Bus.DeadLetter(ctx, number)
	if err != nil {
		return nil, sinks.Entry{}, err
	}
	var decoder schema.Decoder
	segment, err := decoder.Segment(l.Segment)
	if err != nil {
		return nil, sinks.Entry{}, err
	}
	return l, sinks.Entry{Operation: segment.Operation, Record: &segment.Records[0]}, nil
}

// Redeliver writes a dead letter's record to its drain once more, and removes the letter when the
// drain has it. Like the router, it gives a drain without the agreement nothing that may be
// protected health information.
func (o *Operator) Redeliver(ctx context.Context, number uint64) (err error) {
	letter, entry, err := o.open(ctx, number)
	if err != nil {
		return err
	}
	drain, err := o.find(letter.Drain)
	if err != nil {
		return err
	}
	if entry.Operation.PHI && !drain.PHI {
		return fmt.Errorf("drain %s: %w: give the drain the agreement (agreements: [baa]), or discard the letter", drain.Name, ErrNoAgreement)
	}
	sink, err := drain.Open()
	if err != nil {
		return fmt.Errorf("drain %s: %w", drain.Name, err)
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	if err := sink.Write(ctx, []sinks.Entry{entry}); err != nil {
		return fmt.Errorf("drain %s did not take the record: %w", drain.Name, err)
	}
	return o.Bus.DeleteDeadLetter(ctx, number)
}

// Discard removes a dead letter: the drain will never get its record.
func (o *Operator) Discard(ctx context.Context, number uint64) error {
	return o.Bus.DeleteDeadLetter(ctx, number)
}
