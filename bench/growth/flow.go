package growth

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

// A flow is a process with the NATS server, the enricher and, unless that is another process, the
// router, in which sessions come and drains go as it is told, one order after another.
type flow struct {
	*process.Child `json:"-"`
	dir            string
	// URL is that of the NATS server where it listens, or "".
	URL string
}

type flowSetup struct {
	Dir  string // its own, for the stores and keys
	Seed uint64
	// Listen has the NATS server listen, for routers in processes of their own, with as many
	// partitions; 0 has it embedded, as `ttydrain serve` has it by default.
	Listen int
	// Retention of the streams; 0 for the default.
	Retention time.Duration
	// Profile is a file for the processor profile from the first order to start something to the end,
	// or "".
	Profile string
}

// A flowOrder is what a flow is told. Its answer is always a flowState.
type flowOrder struct {
	Do string
	// Sessions and Lines are of doFill, doFeed and doLive; Rate is lines a second of doLive, of all
	// sessions together.
	Sessions, Lines int
	Rate            float64
	Burst           int // of doLive: lines that a session shows at once
	// Records is of doAllow: how many were delivered.
	Records int
	Drains  []namedDrain // of doRoute; the first also of doWrite
	Drain   string       // of doRetry
}

type namedDrain struct {
	Name string
	drains.Target
}

// What a flow can be told.
const (
	doLook   = "look"   // nothing: how does it stand?
	doFill   = "fill"   // publish sessions as fast as the stream takes them, to their ends
	doEnrich = "enrich" // start the enricher
	doAwait  = "await"  // wait until all that is on the TTY stream is on LOGS
	doRoute  = "route"  // start the router
	doWrite  = "write"  // write all that is on LOGS with a sink, without the router
	doRetry  = "retry"  // try a drain again at once, as an operator does: pause and resume
	doLive   = "live"   // start sessions that show lines at an even pace
	doQuiet  = "quiet"  // end them, and wait until their ends are recorded
	doFeed   = "feed"   // publish sessions, set after set, as far as the drain follows
	doAllow  = "allow"  // say how far that is
	doStarve = "starve" // end it
)

// A flowState is how a flow stands.
type flowState struct {
	Sessions, Lines, Records int           // that were published by orders which are done, to their ends
	Processor                time.Duration // that the process has used
	Written                  time.Duration // that doWrite has used
	Memory                   process.Memory
	Enriched                 int // records that were put on LOGS
	// Lost says why live sessions ended by themselves; "" where none did.
	Lost string
	// Stages are the 99th percentiles of the metrics' histograms, in milliseconds, up to the bound of
	// their bucket.
	Stages map[string]float64
}

func startFlow(ctx context.Context, s *measure.Settings, setup flowSetup) (*flow, error) {
	f := new(flow)
	dir, err := os.MkdirTemp(s.Dir, "flow-")
	if err != nil {
		return nil, err
	}
	setup.Dir, setup.Seed = dir, s.Seed
	if f.Child, err = process.StartChild(ctx, "flow", setup, f); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	f.dir = dir
	return f, nil
}

// tell has the flow do something, and waits until it is done.
func (f *flow) tell(o flowOrder) (state flowState, err error) {
	if err := f.Ask(o, &state); err != nil {
		log, _ := os.ReadFile(filepath.Join(f.dir, flowLog)) // what is there of it
		return state, fmt.Errorf("%w; its log:\n%s", err, log[max(0, len(log)-2000):])
	}
	return state, nil
}

// flowLog is the file in a flow's folder with what goes wrong and is tried again, as it does where
// the disk is slow.
const flowLog = "log"

func (f *flow) end() {
	f.Close() // its error is that of a run that has failed already
	os.RemoveAll(f.dir)
}
