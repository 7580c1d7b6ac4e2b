package router

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// statusInterval is the time between two checks of a worker's status for changes, and statusMaxAge
	// the maximum age of a published status without a change.
	statusInterval = time.Second
	statusMaxAge   = 10 * time.Second
	// countInterval is the time between two counts of the segments that a worker has not read.
	countInterval = 5 * time.Second
)

// status is the state of a worker, which it publishes for operators and exports as metrics.
type status struct {
	target    *target
	proof     *proof        // of the drain
	failing   atomic.Bool   // the last write failed
	confirmed atomic.Uint64 // records that the drain has acknowledged

	mu      sync.Mutex // guards what follows
	name    string
	idle    bool // nothing is read
	unread  bool // the last attempt to read the stream failed
	tally   drain.Tally
	lagging time.Time // since when there has been more than was read; zero: there is no more
	err     string
	errAt   time.Time
	retries map[int]time.Time // when each of the deliveries that wait retries
	nextKey int               // of retries
}

func newStatus(t *target, p *proof) *status {
	return &status{target: t, proof: p, tally: drain.NewTally(t.drain.PHI, 0), retries: make(map[int]time.Time)}
}

// begin notes that work begins at a sequence, in a desired state.
func (s *status) begin(sequence uint64, desired schema.DrainControl) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.lagging = schema.DrainDelivering, time.Time{}
	switch {
	case desired.Gone != nil:
		s.name = schema.DrainGone
	case desired.Paused:
		s.name = schema.DrainPaused
	}
	s.idle = true
	s.tally.Reset(sequence)
}

// reading notes that reading begins, with so many segments pending.
func (s *status) reading(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle, s.unread = false, false
	s.tally.Start(pending)
}

// failReading sets the state to unread until reading begins.
func (s *status) failReading(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread, s.err, s.errAt = true, err.Error(), time.Now().UTC()
}

// read notes that a segment was read, with so many records for the drain. handedOver follows.
func (s *status) read(m bus.Message, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.Read(m, records)
	if s.lagging.IsZero() {
		s.lagging = time.Now()
	}
}

// waiting notes that a segment has arrived that waits for quota. The segments after it are counted
// meanwhile.
func (s *status) waiting(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.SetPending(m.Pending + 1)
	if s.lagging.IsZero() {
		s.lagging = time.Now()
	}
}

// skipped notes that the segment that waited was skipped.
func (s *status) skipped(m bus.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tally.SetPending(m.Pending); m.Pending == 0 {
		s.lagging = time.Time{}
	}
}

// handedOver notes that the dispatcher has the last segment that was read.
func (s *status) handedOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tally.Pending() == 0 {
		s.lagging = time.Time{}
	}
}

// delivered adds delivered segments and records. Everything up to a sequence is delivered.
func (s *status) delivered(sequence uint64, segments, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.Deliver(sequence, segments, records)
}

// hasLargeLag reports whether the drain lacks so much that its writes should leave processors to
// other drains.
func (s *status) hasLargeLag() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.Pending() >= largeLag
}

// caughtUp reports whether the drain has everything that was there at the last read.
func (s *status) caughtUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.CaughtUp()
}

// uncounted reports whether there have been unread segments for a while, and from which sequence on
// they are not counted.
func (s *status) uncounted() (from uint64, lagging bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.Counted(), s.isLagging()
}

// isLagging reports whether there have been unread segments for a while. The caller holds mu.
func (s *status) isLagging() bool {
	return s.idle || !s.lagging.IsZero() && time.Since(s.lagging) >= statusInterval
}

// count counts a segment by its message's header. It reports whether to go on.
func (s *status) count(m bus.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.Count(m)
	return s.isLagging()
}

// lacksOldest reports whether the age of the lag is unknown, and the sequence after which its
// oldest record is.
func (s *status) lacksOldest() (after uint64, lacks bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lag := s.tally.Lag()
	return s.tally.Delivered(), s.isLagging() && lag.Oldest.IsZero() && lag.Records > 0
}

// setOldest sets when the first record that the drain lacks was shown.
func (s *status) setOldest(shown time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.SetOldest(shown)
}

// fail sets the state and the error of a drain that fails.
func (s *status) fail(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.err, s.errAt = name, err.Error(), time.Now().UTC()
}

// recover sets the state to delivering.
func (s *status) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = schema.DrainDelivering
}

// note sets the last error without a change of the state.
func (s *status) note(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.errAt = reason, time.Now().UTC()
}

// retryAt notes that a delivery waits until a time before it retries. done ends that.
func (s *status) retryAt(at time.Time) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.nextKey
	s.nextKey++
	s.retries[key] = at
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retries, key)
	}
}

// addDelivered counts records that the drain has acknowledged.
func (s *status) addDelivered(n int) {
	s.target.series.delivered.Add(float64(n))
	s.confirmed.Add(uint64(n))
}

// snapshot returns the status in the form that is published.
func (s *status) snapshot(now time.Time) schema.DrainState {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.tally.Lag()
	name := s.name
	if s.unread && (name == schema.DrainDelivering || name == "") {
		name = schema.DrainUnread
	}
	if name == schema.DrainDelivering && s.proof.rejecting() {
		name = schema.DrainRejecting
	}
	var next time.Time
	for _, at := range s.retries {
		if next.IsZero() || at.Before(next) {
			next = at.UTC()
		}
	}
	return schema.DrainState{
		Drain: s.target.drain.Name, Partition: s.target.partition,
		NextTry: next, State: name, LagRecords: l.Records, LagAtLeast: l.AtLeast, LagSegments: l.Segments, LagSeconds: l.Seconds(now),
		Delivered: s.confirmed.Load(), LastError: s.err, LastErrorAt: s.errAt, Updated: now.UTC(),
	}
}

// report publishes the status and exports it, whenever it has changed, until ctx is done.
func (s *status) report(ctx context.Context) error {
	t := s.target
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var published schema.DrainState
	checked, deliveredThen := time.Now(), s.confirmed.Load()
	exported := "" // the state that the metrics count
	defer func() { t.countState(exported, -1) }()
	for {
		now := time.Now()
		current := s.snapshot(now)
		if passed := now.Sub(checked).Seconds(); passed > 0 {
			current.Rate = float64(current.Delivered-deliveredThen) / passed
		}
		checked, deliveredThen = now, current.Delivered
		t.metrics.setLag(t.drain.Name, t.partition, current.LagRecords, current.LagSegments, current.LagSeconds)
		if current.State != exported {
			t.countState(exported, -1)
			t.countState(current.State, 1)
			exported = current.State
		}
		changed := current
		changed.Updated = published.Updated
		if changed != published || now.Sub(published.Updated) >= statusMaxAge {
			if err := t.bus.SaveDrainState(ctx, &current); err != nil {
				t.log.Warn("failed to publish the drain's status", "error", err)
			}
			published = current
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reportUnread publishes that the stream cannot be read, and calls wait meanwhile. The bus keeps
// states for longer than that.
func (s *status) reportUnread(ctx context.Context, err error, wait func()) {
	t := s.target
	s.failReading(err)
	current := s.snapshot(time.Now())
	t.countState(current.State, 1)
	defer t.countState(current.State, -1)
	if err := t.bus.SaveDrainState(ctx, &current); err != nil {
		t.log.Warn("failed to publish the drain's status", "error", err)
	}
	wait()
}

// countAhead counts the segments that the worker has not read, whenever it lags, until ctx is done.
func (s *status) countAhead(ctx context.Context) {
	t := s.target
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if from, lagging := s.uncounted(); lagging && !time.Now().Before(next) {
			err := drain.CountHeads(ctx, t.bus, t.filters, from, s.count)
			if err != nil && ctx.Err() == nil {
				t.log.Debug("failed to count the drain's lag", "error", err)
			}
			next = time.Now().Add(countInterval)
		}
		if after, lacks := s.lacksOldest(); lacks {
			if at, ok, err := drain.FirstShown(ctx, t.bus, t.filters, after, t.drain.PHI); err == nil && ok {
				s.setOldest(at)
			}
		}
	}
}
