package drains

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
	"github.com/ttydrain/ttydrain/pipeline/router"
)

// pipelineSetup is the setup of the process with the enricher and the router. The process fills the
// TTY stream before it is ready.
type pipelineSetup struct {
	Dir string // its own folder for stores and keys

	Seed              uint64
	Sessions, Records int
	Keystrokes        bool

	Drain Target
	// Profile is a file for the CPU profile of the measured time, or "".
	Profile string
}

// The questions to the process, in this order. The answer is a [process.Usage], which only askStop
// fills in.
const (
	AskGo        = "go"        // start the enricher and the router
	askDelivered = "delivered" // wait until the drain has acknowledged everything; optional
	askStop      = "stop"      // stop them
)

// TuneRuntime sets GOMAXPROCS and GOGC as `ttydrain serve` does with an embedded server that syncs
// every write.
func TuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + bus.Writers)
	}
}

// Main is the role of the process with the enricher and the router.
func Main(in *json.Decoder, out *json.Encoder) (err error) {
	var setup pipelineSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	TuneRuntime()
	ctx := context.Background() // the process ends when its input does
	key, err := enrich.LoadKey(filepath.Join(setup.Dir, "key.pem"), "")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bus.Open(ctx, bus.Options{Store: filepath.Join(setup.Dir, "data"), Log: log})
	if err != nil {
		return err
	}
	defer b.Close()
	filled, err := Fill(ctx, b, key, setup.Seed, setup.Sessions, setup.Records, setup.Keystrokes)
	if err != nil {
		return fmt.Errorf("fill the TTY stream: %w", err)
	}
	confirmed := new(deliveredOnly)
	enricher := enricher.New(enricher.Options{
		Bus: b, Signer: key, Metrics: enricher.NewMetrics(confirmed), Log: log,
		Document: corpus.UserDocuments(key),
	})
	router, err := router.New(router.Options{
		Bus: b, Metrics: router.NewMetrics(confirmed), Log: log,
		Drains: []drain.Drain{setup.Drain.Routed("bench")},
	})
	if err != nil {
		return err
	}
	// The garbage of filling the stream does not count.
	runtime.GC()
	debug.FreeOSMemory()
	if err := out.Encode(filled); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &pipeline{setup: setup, filled: filled, confirmed: confirmed, stop: stop}
	p.start = func() {
		p.work.Go(func() error { return enricher.Run(ctx) })
		p.work.Go(func() error { return router.Run(ctx) })
	}
	for {
		var question string
		if err := in.Decode(&question); err != nil {
			return err
		}
		answer, err := p.answer(question)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// A pipeline is an enricher and a router with a filled TTY stream.
type pipeline struct {
	setup     pipelineSetup
	filled    corpus.Totals
	confirmed *deliveredOnly
	start     func()
	stop      func()
	work      errgroup.Group // started by start, ends after stop
	before    time.Duration  // CPU time at AskGo
}

// answer does what a question asks for.
func (p *pipeline) answer(question string) (used process.Usage, err error) {
	switch question {
	case AskGo:
		if err := process.StartProfile(p.setup.Profile); err != nil {
			return used, err
		}
		if err := process.ResetPeak(); err != nil {
			return used, err
		}
		p.before = process.CPUTime()
		p.start()
	case askDelivered:
		return used, p.confirmed.await(p.filled.Records)
	case askStop:
		used.Processor = process.CPUTime() - p.before
		now, err := process.MemoryOf(os.Getpid())
		if err != nil {
			return used, err
		}
		used.PeakMemory = now.Peak
		pprof.StopCPUProfile() // does nothing if none was started
		p.stop()
		return used, p.work.Wait()
	}
	return used, nil
}
