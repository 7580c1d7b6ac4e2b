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

// A flow is a process with the NATS server, the enricher and, unless another process has it, the
// router. It executes orders one after the other: publish sessions, start the router, and so on.
type flow struct {
	*process.Child `json:"-"`
	dir            string
	// URL is the URL of the NATS server if it listens, or "".
	URL string
}

type flowSetup struct {
	Dir  string // its own folder for stores and keys
	Seed uint64
	// Listen, if not 0, makes the NATS server listen, for routers in other processes, and is the
	// number of partitions. 0 embeds the server, as `ttydrain serve` does by default.
	Listen int
	// Retention of the streams; 0 for the default.
	Retention time.Duration
	// Profile is a file for the CPU profile from the start of the enricher to the end, or "".
	Profile string
}

// A flowOrder is an order to a flow. The answer is a flowState.
type flowOrder struct {
	Do string
	// Sessions and Lines are for doFill, doFeed and doLive. Rate is for doLive: the lines per
	// second of all sessions together.
	Sessions, Lines int
	Rate            float64
	Burst           int // for doLive: lines that a session shows at once
	// Records is for doDelivered: the number of delivered records.
	Records int
	Drains  []namedDrain // for doRoute; doWrite uses the first
	Drain   string       // for doRetry
}

type namedDrain struct {
	Name string
	drains.Target
}

// The orders to a flow.
const (
	doReport    = "report"    // do nothing but report the state
	doFill      = "fill"      // publish complete sessions as fast as possible
	doEnrich    = "enrich"    // start the enricher
	doAwait     = "await"     // wait until the enricher has processed the TTY stream
	doRoute     = "route"     // start the router
	doWrite     = "write"     // write all records on LOGS with a sink, without the router
	doRetry     = "retry"     // retry a drain at once, like an operator: pause and resume it
	doLive      = "live"      // start sessions that show lines at an even pace
	doStopLive  = "stop live" // end these sessions and wait until their ends are recorded
	doFeed      = "feed"      // publish sessions set after set, as fast as the drain delivers
	doDelivered = "delivered" // report the number of delivered records
	doStopFeed  = "stop feed" // stop publishing
)

// A flowState is the state of a flow.
type flowState struct {
	Sessions, Lines, Records int           // of completed orders, with complete sessions
	Processor                time.Duration // CPU time that the process has used
	Written                  time.Duration // CPU time that doWrite has used
	Memory                   process.Memory
	Enriched                 int // records published to LOGS
	// Lost is the reason why a live session ended by itself, or "".
	Lost string
	// Stages are the 99th percentiles of the histograms of the stages, in milliseconds: the upper
	// bounds of their buckets.
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

// do sends an order and waits until it is done.
func (f *flow) do(o flowOrder) (state flowState, err error) {
	if err := f.Ask(o, &state); err != nil {
		log, _ := os.ReadFile(filepath.Join(f.dir, flowLog)) // as far as it exists
		return state, fmt.Errorf("%w; its log:\n%s", err, log[max(0, len(log)-2000):])
	}
	return state, nil
}

// flowLog is the file in a flow's folder with its warnings, such as retries on a slow disk.
const flowLog = "log"

func (f *flow) end() {
	f.Close() // an error here is that of a run that has already failed
	os.RemoveAll(f.dir)
}
