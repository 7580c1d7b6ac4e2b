package pipeline

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
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
	confirmed atomic.Uint64 // records

	mu     sync.Mutex // guards what follows
	name   string
	still  bool // nothing is read
	unread bool // the stream could not be read when that was tried last
	tally  tally
	behind time.Time // since when there has been more than was read; zero: there is no more
	err    string
	errAt  time.Time
	tries  map[*delivery]time.Time // when those that wait try the drain again
}

// begin says that work begins at a message, as it is wanted.
func (s *state) begin(sequence uint64, wanted schema.DrainControl) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.behind = schema.DrainDelivering, time.Time{}
	switch {
	case wanted.Gone != nil:
		s.name = schema.DrainGone
	case wanted.Paused:
		s.name = schema.DrainPaused
	}
	s.still = true
	s.tally.start(sequence)
}

// reading says that reading begins, with so many segments there.
func (s *state) reading(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.still, s.unread = false, false
	s.tally.pending, s.tally.unknown = pending, false
}

// failReading sets the state to unread until reading begins.
func (s *state) failReading(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread, s.err, s.errAt = true, err.Error(), time.Now().UTC()
}

// read says that a segment was read, of which so many records are for the drain. handedOver
// follows.
func (s *state) read(m bus.Message, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	t.read = counted{m.Sequence, t.read.segments + 1, t.read.records + uint64(records)}
	t.pending = m.Pending
	if s.behind.IsZero() {
		s.behind = time.Now()
	}
}

// waiting notes that a segment has come that is not read yet, since there is no room for it: what
// comes behind it is counted meanwhile.
func (s *state) waiting(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.pending = m.Pending + 1
	if s.behind.IsZero() {
		s.behind = time.Now()
	}
}

// passedOver notes that the segment that waited can't be read.
func (s *state) passedOver(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tally.pending = m.Pending; m.Pending == 0 {
		s.behind = time.Time{}
	}
}

// handedOver says that the segment that was read last is in the hands of whoever delivers.
func (s *state) handedOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tally.pending == 0 {
		s.behind = time.Time{}
	}
}

// delivered says that the drain has so many more segments and records, and all up to a message.
func (s *state) delivered(sequence uint64, segments, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	t.done = counted{sequence, t.done.segments + uint64(segments), t.done.records + uint64(records)}
	if t.done.sequence == t.read.sequence && t.pending == 0 {
		t.oldest = time.Time{}
	}
}

// farBehind says whether there is much to read for the drain.
func (s *state) farBehind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.pending >= farBehind
}

// caughtUp says whether the drain has all that there was when something was read last.
func (s *state) caughtUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	return !t.unknown && t.pending == 0 && t.done.sequence == t.read.sequence
}

// uncounted says whether there is more than was read, for a while now, and from where on it is not
// counted.
func (s *state) uncounted() (from uint64, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.tally.read.sequence, s.tally.ahead.sequence), s.isBehind()
}

// isBehind is for those who hold mu.
func (s *state) isBehind() bool {
	return s.still || !s.behind.IsZero() && time.Since(s.behind) >= stateEvery
}

// count counts a segment by its head, and says whether there is still reason to.
func (s *state) count(m bus.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.count(m)
	return s.isBehind()
}

// lacksOldest says whether nobody knows when the first record was shown that the drain does not
// have, and found tells.
func (s *state) lacksOldest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isBehind() && s.tally.oldest.IsZero() && s.tally.lag().records > 0
}

// found says when the first record was shown that the drain does not have.
func (s *state) found(oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.oldest = oldest
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

// waits notes when a delivery tries a drain that fails again; zero once that is over.
func (s *state) waits(d *delivery, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.IsZero() {
		delete(s.tries, d)
		return
	}
	if s.tries == nil {
		s.tries = make(map[*delivery]time.Time)
	}
	s.tries[d] = until
}

// note notes an error that is no reason to stop delivering.
func (s *state) note(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.errAt = reason, time.Now().UTC()
}

// told is the state in the form in which it is told.
func (s *state) told(now time.Time) schema.DrainState {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.tally.lag()
	name := s.name
	if s.unread && (name == schema.DrainDelivering || name == "") {
		name = schema.DrainUnread
	}
	var next time.Time
	for _, at := range s.tries {
		if next.IsZero() || at.Before(next) {
			next = at.UTC()
		}
	}
	return schema.DrainState{
		NextTry: next, State: name, LagRecords: l.records, LagAtLeast: l.atLeast, LagSegments: l.segments, LagSeconds: l.seconds(now),
		Delivered: s.confirmed.Load(), LastError: s.err, LastErrorAt: s.errAt, Updated: now.UTC(),
	}
}

// countState changes how many partitions of the drain the metrics say to be in a state; "" is none.
func (w *worker) countState(name string, by float64) {
	if name != "" {
		w.metrics.partitions.WithLabelValues(w.drain.Name, name).Add(by)
	}
}

// tellState tells how the drain stands, until ctx is done.
func (w *worker) tellState(ctx context.Context) error {
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	var last schema.DrainState
	looked, deliveredThen := time.Now(), w.state.confirmed.Load()
	counted := "" // the state that the metrics have
	defer func() { w.countState(counted, -1) }()
	for {
		now := time.Now()
		s := w.state.told(now)
		s.Drain, s.Partition = w.drain.Name, w.partition
		if passed := now.Sub(looked).Seconds(); passed > 0 {
			s.Rate = float64(s.Delivered-deliveredThen) / passed
		}
		looked, deliveredThen = now, s.Delivered
		w.metrics.setLag(w.drain.Name, w.partition, s.LagRecords, s.LagSegments, s.LagSeconds)
		if s.State != counted {
			w.countState(counted, -1)
			w.countState(s.State, 1)
			counted = s.State
		}
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
