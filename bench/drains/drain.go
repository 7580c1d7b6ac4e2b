package drains

import (
	"context"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// Shares of the records: slow senders get fewer, so that they take about as long as the others.
const (
	FastShare   = 1
	MediumShare = 0.5 // with fewer, starting takes a third of the CPU time for Elasticsearch
	SlowShare   = 0.2
	SlowerShare = 0.1
)

// A Drain is measured from the TTY stream to its receiver: each run fills a stream of its own, and
// measures from the start of the enricher and the router to the arrival of the last record.
type Drain struct {
	key   string // returned by Name
	setup pipelineSetup
	// share is the share of the records that it gets.
	share float64
	// receiving describes its receiver.
	receiving receivers.Setup

	settings *measure.Settings
	receiver *receivers.Receiver // set by Prepare
	runs     int
}

// New returns a drain, whose receiver Prepare starts.
func New(name string, share float64, receiving receivers.Setup, to Target) *Drain {
	return &Drain{key: name, share: share, receiving: receiving, setup: pipelineSetup{Drain: to}}
}

// Uncompared returns the drains that have no peers to compare with.
func Uncompared() measure.Group {
	keystrokes := New("keystrokes/https/ndjson", 0.1, receivers.HTTPS, Target{Type: "https", Format: https.NDJSON})
	keystrokes.setup.Keystrokes = true
	return measure.Group{New("https/array", 1, receivers.HTTPS, Target{Type: "https", Format: https.Array}), keystrokes}
}

func (d *Drain) Name() string { return d.key }

func (d *Drain) Prepare(ctx context.Context, s *measure.Settings) (err error) {
	d.settings = s
	if d.receiver, err = receivers.Open(ctx, s, d.receiving); err != nil {
		return err
	}
	d.setup.Drain.Address, d.setup.Drain.CAFile = d.receiver.Address, d.receiver.CAFile
	return nil
}

func (d *Drain) Close() {
	if d.receiver != nil {
		d.receiver.Close()
	}
}

func (d *Drain) Run(ctx context.Context) (measure.Sample, error) {
	p, err := startPipeline(ctx, d.settings, d.key, d.setup, d.share, d.runs)
	if err != nil {
		return nil, err
	}
	defer p.end()
	d.runs++
	if err := d.receiver.Begin(); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.Ask(AskGo, new(process.Usage)); err != nil {
		return nil, err
	}
	got, err := d.receiver.AwaitSessions(p.filled.Sessions)
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	stopped, err := p.stop()
	if err != nil {
		return nil, err
	}
	if err := d.receiver.Verify(p.filled); err != nil {
		return nil, err
	}
	return receivers.NewSample(p.filled, took, stopped.Processor, stopped.PeakMemory, got), nil
}

// A filledPipeline is a process with a filled TTY stream, and an enricher and a router that have
// not started.
type filledPipeline struct {
	*process.Child
	dir    string
	filled corpus.Totals
}

func startPipeline(ctx context.Context, s *measure.Settings, name string, setup pipelineSetup, share float64, run int) (*filledPipeline, error) {
	p := new(filledPipeline)
	var err error
	if p.dir, err = os.MkdirTemp(s.Dir, "pipeline-"); err != nil {
		return nil, err
	}
	setup.Dir = p.dir
	setup.Seed, setup.Sessions, setup.Records = s.Seed, s.Sessions, int(share*float64(s.Records))
	setup.Profile = s.Profile(name, run)
	if p.Child, err = process.StartChild(ctx, "pipeline", setup, &p.filled); err != nil {
		os.RemoveAll(p.dir)
		return nil, err
	}
	return p, nil
}

// stop stops the enricher and the router, and returns what the process used.
func (p *filledPipeline) stop() (a process.Usage, err error) {
	return a, p.Ask(askStop, &a)
}

func (p *filledPipeline) end() {
	p.Close() // an error here is that of a run that has already failed
	os.RemoveAll(p.dir)
}
