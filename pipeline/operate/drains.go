package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
)

// ErrUnknownDrain is returned for a drain that is not configured in this process.
var ErrUnknownDrain = errors.New("no drain has this name")

// ErrNotFound is returned for an operation or a dead letter that does not exist, or no longer.
var ErrNotFound = bus.ErrNotFound

// ErrNoAgreement is returned when a record may be protected health information, and the drain has
// no agreement for it.
var ErrNoAgreement = errors.New("the record may be protected health information, and the drain has no agreement for it")

// An Operator lists, tests and controls drains and their dead letters. Any process that knows the
// drains can do it: requests go through the bus to the workers, wherever they are.
type Operator struct {
	Bus    *bus.Bus
	Drains []drain.Drain // the initial ones: see Update

	updated atomic.Pointer[[]drain.Drain] // by Update; nil before
}

// Update replaces the drains. Requests in progress continue with the old ones.
func (o *Operator) Update(drains []drain.Drain) { o.updated.Store(&drains) }

func (o *Operator) drains() []drain.Drain {
	if updated := o.updated.Load(); updated != nil {
		return *updated
	}
	return o.Drains
}

// A DrainStatus is the status of a drain.
type DrainStatus struct {
	Name string `json:"name"`
	// State is the worst state of its workers, "paused" if an operator has paused it, "gone" if the
	// drain has reported that it is gone, or [Unattended].
	State string `json:"state"`
	// LagRecords are recorded and not delivered, in LagSegments messages of the stream. With
	// LagAtLeast they are still being counted, and there are more.
	LagRecords  uint64 `json:"lag_records"`
	LagAtLeast  bool   `json:"lag_at_least,omitempty"`
	LagSegments uint64 `json:"lag_segments"`
	// LagSeconds is the time since the first of them was shown.
	LagSeconds  float64   `json:"lag_seconds"`
	Delivered   uint64    `json:"delivered"`
	Rate        float64   `json:"records_per_second"`
	DeadLetters uint64    `json:"dead_letters"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// NextTry is the time of the next retry of a failing drain; zero if none is scheduled.
	NextTry time.Time `json:"next_try,omitzero"`
}

// Unattended is the state of a drain without a worker that publishes its status.
const Unattended = "unattended"

// find returns the drain with a name.
func (o *Operator) find(name string) (*drain.Drain, error) {
	drains := o.drains()
	i := slices.IndexFunc(drains, func(d drain.Drain) bool { return d.Name == name })
	if i < 0 {
		var names []string
		for _, d := range drains {
			names = append(names, d.Name)
		}
		return nil, fmt.Errorf("%q: %w: there are %s", name, ErrUnknownDrain, strings.Join(names, ", "))
	}
	return &drains[i], nil
}

// List returns the status of all drains, in the order of the configuration.
func (o *Operator) List(ctx context.Context) ([]DrainStatus, error) {
	states, err := o.Bus.DrainStates(ctx)
	if err != nil {
		return nil, err
	}
	drains := o.drains()
	until := time.Now().Add(drain.CountTimeout)
	list := make([]DrainStatus, 0, len(drains))
	for _, d := range drains {
		status := DrainStatus{Name: d.Name, State: Unattended}
		published := make(map[int]bool) // by partition
		for _, s := range states {
			if s.Drain == d.Name {
				published[s.Partition] = true
				status.add(&s)
			}
		}
		for partition := range o.Bus.Partitions() {
			if published[partition] {
				continue
			}
			l, err := d.Lag(ctx, o.Bus, partition, until)
			if ctx.Err() != nil {
				return nil, err
			}
			if err != nil { // the other drains are listed nevertheless
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
		status.apply(&control)
		if status.DeadLetters, err = o.Bus.CountDeadLetters(ctx, d.Name); err != nil {
			return nil, err
		}
		list = append(list, status)
	}
	return list, nil
}

// add adds the status that a worker has published.
func (d *DrainStatus) add(s *schema.DrainState) {
	if slices.Index(drain.States, s.State) > slices.Index(drain.States, d.State) {
		d.State = s.State
	}
	d.LagRecords += s.LagRecords
	d.LagAtLeast = d.LagAtLeast || s.LagAtLeast
	d.LagSegments += s.LagSegments
	d.LagSeconds = max(d.LagSeconds, s.LagSeconds)
	d.Delivered += s.Delivered
	d.Rate += s.Rate
	if !s.NextTry.IsZero() && (d.NextTry.IsZero() || s.NextTry.Before(d.NextTry)) {
		d.NextTry = s.NextTry
	}
	if s.LastErrorAt.After(d.LastErrorAt) {
		d.LastError, d.LastErrorAt = s.LastError, s.LastErrorAt
	}
}

// apply applies the desired state of the drain, which its workers may not have followed yet.
func (d *DrainStatus) apply(control *schema.DrainControl) {
	if control.Paused {
		d.State = schema.DrainPaused
	}
	if control.Paused || control.Gone != nil {
		d.NextTry = time.Time{}
	}
	if g := control.Gone; g != nil {
		d.State = schema.DrainGone
		if !d.LastErrorAt.After(g.At) {
			d.LastError, d.LastErrorAt = g.Reason, g.At
		}
	}
}

// Pause suspends delivery to a drain, or resumes it. A pause outlasts restarts, and records wait in
// the stream meanwhile. Resuming a drain that is gone tries it again.
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

// Test tests the connection to a drain with a sink of its own, and writes a record to it that says
// that it is a test and, in askedBy's own words, who asked for it: see [drain.TestRecord]. A paused
// drain gets the record too. An error is about the test itself, and not about the drain.
func (o *Operator) Test(ctx context.Context, name, askedBy string) (*drain.Report, error) {
	d, err := o.find(name)
	if err != nil {
		return nil, err
	}
	control, err := o.Bus.DrainControl(ctx, name)
	if err != nil {
		return nil, err
	}
	entry := drain.TestRecord(name, askedBy, time.Now())
	report := d.Test(ctx, &entry)
	if control.Paused {
		report.Notes = append([]string{"the drain is paused: session logs wait in the stream until `ttydrain drains resume " + name + "`"}, report.Notes...)
	}
	return report, nil
}
