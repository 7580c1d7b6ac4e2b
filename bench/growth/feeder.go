package growth

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/drains"
)

// A feeder holds sessions back that are published set after set, so that a bounded number of
// records is under way.
type feeder struct {
	done errgroup.Group

	mu        sync.Mutex
	changed   sync.Cond // of mu
	delivered int       // guarded by mu
	over      bool      // guarded by mu
}

func newFeeder() *feeder {
	f := new(feeder)
	f.changed.L = &f.mu
	return f
}

func (f *feeder) allow(delivered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivered = delivered
	f.changed.Broadcast()
}

func (f *feeder) stop() error {
	f.mu.Lock()
	f.over = true
	f.changed.Broadcast()
	f.mu.Unlock()
	return f.done.Wait()
}

// wait waits until no more than so many records are under way; it is false when that is over.
func (f *feeder) wait(published, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for published-f.delivered > most && !f.over {
		f.changed.Wait()
	}
	return !f.over
}

// feedAhead is how many sets of sessions may be under way.
const feedAhead = 4

// feed publishes sets of sessions of so many lines together, until the feeder is stopped.
func (f *flowing) feed(ctx context.Context, sessions, lines int) error {
	published := corpus.Filling{}
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
