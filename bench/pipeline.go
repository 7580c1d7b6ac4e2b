package main

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

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// pipelineSetup says what the process of the enricher and the router is to do. It fills the TTY
// stream before it is ready.
type pipelineSetup struct {
	Dir string // its own, for the stores and keys

	Seed              uint64
	Sessions, Records int
	Keystrokes        bool

	Drain drainSetup
	// Profile is a file for the processor profile of what is measured, or "".
	Profile string
}

// routed is the drain as the router of a configuration that says nothing more has it.
func (d drainSetup) routed(name string) pipeline.Drain {
	routed := pipeline.Drain{Name: name, Open: d.open, BatchRecords: batchRecords, BatchBytes: batchBytes}
	if o, err := d.options(); err == nil {
		routed.Writers, routed.Alone = o.Limits().Concurrency, o.Limits().OneByOne
	}
	return routed
}

// drainSetup is the one drain.
type drainSetup struct {
	// Type is "https", "elasticsearch" or "syslog".
	Type string
	// Address is host and port, or the URL of Elasticsearch.
	Address, CAFile string
	Format          https.Format // of https
	DataStream      string       // of elasticsearch
}

func (d drainSetup) open() (sinks.Sink, error) {
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	return o.Open()
}

func (d drainSetup) options() (sinks.Opener, error) {
	switch d.Type {
	case "https":
		return https.Options{URL: "https://" + d.Address + "/", Format: d.Format, TLS: sinks.TLS{CAFile: d.CAFile}}, nil
	case "elasticsearch":
		return elasticsearch.Options{URLs: []string{d.Address}, DataStream: d.DataStream, ManageTemplate: true}, nil
	case "syslog":
		return syslog.Options{Address: d.Address, TLS: sinks.TLS{CAFile: d.CAFile}}, nil
	}
	return nil, fmt.Errorf("drain type %q is not known", d.Type)
}

// What the pipeline's process is asked, in this order.
const (
	askGo        = "go"        // start the enricher and the router
	askDelivered = "delivered" // say when everything is confirmed by the drain; may be left out
	askStop      = "stop"      // stop them
)

// pipelineAnswer is the answer to askStop, and the other ones' with nothing in it.
type pipelineAnswer struct {
	Processor  time.Duration // used from askGo to askStop
	PeakMemory int64         // of the process in that time, in bytes
}

// measured does some work, and gives what it took.
func measured(work func() error) (pipelineAnswer, error) {
	before := processorTime()
	if err := work(); err != nil {
		return pipelineAnswer{}, err
	}
	used := processorTime() - before
	now, err := memoryOf(os.Getpid())
	return pipelineAnswer{used, now.Peak}, err
}

// asServe has this process run as many goroutines at a time, and keep as much garbage, as `ttydrain
// serve` does with an embedded server whose writes are on the disk before anybody is told of them.
func asServe() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + bus.Writers)
	}
}

// pipelineMain is the process.
func pipelineMain(in *json.Decoder, out *json.Encoder) (err error) {
	var setup pipelineSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	asServe()
	ctx := context.Background() // the process ends with its input
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
	filled, err := fill(ctx, b, key, setup.Seed, setup.Sessions, setup.Records, setup.Keystrokes)
	if err != nil {
		return fmt.Errorf("fill the TTY stream: %w", err)
	}
	confirmed := new(deliveredOnly)
	metrics := pipeline.NewMetrics(confirmed)
	enricher := pipeline.NewEnricher(pipeline.EnricherOptions{
		Bus: b, Signer: key, Metrics: metrics, Log: log,
		Document: func(u schema.User) (string, error) { return key.Mint("https://auth.example.com", u, time.Now()) },
	})
	router, err := pipeline.NewRouter(pipeline.RouterOptions{
		Bus: b, Metrics: metrics, Log: log,
		Drains: []pipeline.Drain{setup.Drain.routed("bench")},
	})
	if err != nil {
		return err
	}
	// What filling left behind is not the pipeline's to clear away.
	runtime.GC()
	debug.FreeOSMemory()
	if err := out.Encode(filled); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work errgroup.Group
	var before time.Duration
	for {
		var question string
		if err := in.Decode(&question); err != nil {
			return err
		}
		var answer pipelineAnswer
		switch question {
		case askGo:
			if err := startProfile(setup.Profile); err != nil {
				return err
			}
			if err := forgetPeak(); err != nil {
				return err
			}
			before = processorTime()
			work.Go(func() error { return enricher.Run(ctx) })
			work.Go(func() error { return router.Run(ctx) })
		case askDelivered:
			if err := confirmed.await(filled.records()); err != nil {
				return err
			}
		case askStop:
			answer.Processor = processorTime() - before
			now, err := memoryOf(os.Getpid())
			if err != nil {
				return err
			}
			answer.PeakMemory = now.Peak
			pprof.StopCPUProfile() // does nothing where none was started
			stop()
			if err := work.Wait(); err != nil {
				return err
			}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// startProfile begins a processor profile; it is whole after pprof.StopCPUProfile.
func startProfile(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}
