package growth

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/drains"
)

// A feeder limits the number of records between publishing and delivery, when sessions are
// published set after set.
type feeder struct {
	done errgroup.Group

	mu        sync.Mutex
	changed   sync.Cond // of mu
	delivered int       // guarded by mu
	stopped   bool      // guarded by mu
}

func newFeeder() *feeder {
	f := new(feeder)
	f.changed.L = &f.mu
	return f
}

func (f *feeder) acknowledge(delivered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivered = delivered
	f.changed.Broadcast()
}

func (f *feeder) stop() error {
	f.mu.Lock()
	f.stopped = true
	f.changed.Broadcast()
	f.mu.Unlock()
	return f.done.Wait()
}

// wait waits until at most limit records are undelivered. It returns false when the feeder is
// stopped.
func (f *feeder) wait(published, limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for published-f.delivered > limit && !f.stopped {
		f.changed.Wait()
	}
	return !f.stopped
}

// feedAhead is the maximum number of undelivered sets of sessions.
const feedAhead = 4

// feed publishes sets of sessions, each with that many lines in total, until the feeder is stopped.
func (f *flowProcess) feed(ctx context.Context, sessions, lines int) error {
	published := corpus.Totals{}
	for f.feeder.wait(published.Records, feedAhead*lines) {
		one, err := drains.Fill(ctx, f.bus, f.key, f.setup.Seed+uint64(published.Sessions), sessions, lines, false)
		if err != nil {
			return err
		}
		published.Sessions += one.Sessions
		published.Lines += one.Lines
		published.Records += one.Records
	}
	f.state.Sessions += published.Sessions
	f.state.Lines += published.Lines
	f.state.Records += published.Records
	return nil
}
