package pipeline

import (
	"context"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// stateEvery is how often a worker looks whether there is news of its drain.
	stateEvery = time.Second
	// stateAtLeast is how often it tells how the drain stands even so.
	stateAtLeast = 10 * time.Second
)

// control is what is wanted of a drain.
type control struct {
	mu      sync.Mutex // guards what follows
	wanted  schema.DrainControl
	changed chan struct{} // closed when wanted is another
}

// get gives what is wanted, and a channel that is closed when that changes.
func (c *control) get() (schema.DrainControl, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted, c.changed
}

func (c *control) set(wanted schema.DrainControl) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(c.wanted, wanted) {
		return
	}
	c.wanted = wanted
	close(c.changed)
	c.changed = make(chan struct{})
}

// state is how a worker's drain stands.
type state struct {
	delivered atomic.Uint64 // records

	mu     sync.Mutex // guards what follows
	name   string
	lag    uint64    // segments
	oldest time.Time // when the oldest of them was published; zero without
	err    string
	errAt  time.Time
}

func (s *state) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = schema.DrainPaused
}

func (s *state) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = schema.DrainDelivering
}

// begin says that so many segments are to be delivered, of which the oldest was published at that time.
func (s *state) begin(oldest time.Time, lag uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest, s.lag = oldest, lag
}

// caughtUp says that so many segments are left.
func (s *state) caughtUp(lag uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lag = lag; lag == 0 {
		s.oldest = time.Time{}
	}
}

func (s *state) fail(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.err, s.errAt = name, err.Error(), time.Now().UTC()
}

func (s *state) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = schema.DrainDelivering
}

// told is the state in the form in which it is told.
func (s *state) told(now time.Time) schema.DrainState {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := schema.DrainState{State: s.name, LagSegments: s.lag, Delivered: s.delivered.Load(), LastError: s.err, LastErrorAt: s.errAt, Updated: now.UTC()}
	if !s.oldest.IsZero() {
		t.LagSeconds = max(0, now.Sub(s.oldest).Seconds())
	}
	return t
}

// tellState tells how the drain stands, until ctx is done.
func (w *worker) tellState(ctx context.Context) error {
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	var last schema.DrainState
	looked, deliveredThen := time.Now(), w.state.delivered.Load()
	for {
		now := time.Now()
		s := w.state.told(now)
		s.Drain, s.Partition = w.drain.Name, w.partition
		if passed := now.Sub(looked).Seconds(); passed > 0 {
			s.Rate = float64(s.Delivered-deliveredThen) / passed
		}
		looked, deliveredThen = now, s.Delivered
		w.metrics.lag.WithLabelValues(w.drain.Name, strconv.Itoa(w.partition)).Set(float64(s.LagSegments))
		news := s
		news.Updated = last.Updated
		if news != last || now.Sub(last.Updated) >= stateAtLeast {
			if err := w.bus.SaveDrainState(ctx, &s); err != nil {
				w.log.Warn("how the drain stands could not be told", "error", err)
			}
			last = s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
