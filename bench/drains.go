package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks/https"
)

// Metrics of drains.
const (
	linesPerSecond     = "lines_per_second"
	secondsPerMillion  = "processor_seconds_per_million_lines"
	receiverPerMillion = "receiver_processor_seconds_per_million_lines"
	linesMeasured      = "lines"
)

// A drain is the way from the TTY stream to one drain: each run fills a stream of its own, and measures from the start
// of the enricher and the router to the arrival of the last record.
type drain struct {
	key   string // its name
	setup pipelineSetup
	// share is the part of settings.lines that it gets: slow ones get less, so that they take about
	// as long as the others.
	share float64
	// receiving is the receiver's setup.
	receiving receiverSetup

	settings *settings
	receiver *receiver // of prepare
	runs     int
}

// What every record has once as JSON, and what the last one of a session has. Quotes within a string are escaped, so that
// nothing in a session looks like it.
const (
	jsonUnit = `{"@timestamp":"`
	jsonLast = `"event":"end"`
)

// drains are the drains that only count.
func drains() group {
	http := receiverSetup{Protocol: "https", Unit: jsonUnit, Last: jsonLast}
	return group{
		&drain{key: "https/json", share: 0.1, receiving: http, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: https.JSON}}},
		&drain{key: "https/ndjson", share: 1, receiving: http, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: https.NDJSON}}},
		&drain{key: "https/array", share: 1, receiving: http, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: https.Array}}},
		&drain{key: "syslog", share: 1, receiving: receiverSetup{Protocol: "syslog", Last: " end [session@32473 "}, setup: pipelineSetup{Drain: drainSetup{Type: "syslog"}}},
		&drain{key: "keystrokes/https/ndjson", share: 0.1, receiving: http,
			setup: pipelineSetup{Keystrokes: true, Drain: drainSetup{Type: "https", Format: https.NDJSON}}},
	}
}

func (d *drain) name() string { return d.key }

func (d *drain) prepare(ctx context.Context, s *settings) error {
	d.settings = s
	var err error
	d.receiving.Dir, err = os.MkdirTemp(s.dir, "receiver-")
	if err != nil {
		return err
	}
	if d.receiver, err = startReceiver(ctx, d.receiving); err != nil {
		return err
	}
	d.setup.Drain.Address, d.setup.Drain.CAFile = d.receiver.Address, d.receiver.CAFile
	return nil
}

func (d *drain) close() {
	if d.receiver != nil {
		d.receiver.close()
	}
}

func (d *drain) run(ctx context.Context) (sample, error) {
	p, err := startPipeline(ctx, d.settings, d.key, d.setup, d.share, d.runs)
	if err != nil {
		return nil, err
	}
	defer p.end()
	d.runs++
	if err := d.receiver.begin(); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.ask(askGo, new(pipelineAnswer)); err != nil {
		return nil, err
	}
	got, err := d.receiver.await(p.filled.Sessions)
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	used, err := p.stop()
	if err != nil {
		return nil, err
	}
	if err := p.check(got.Records); err != nil {
		return nil, err
	}
	s := p.sample(took, used)
	s[receiverPerMillion] = got.Processor.Seconds() / float64(p.filled.Lines) * 1e6
	return s, nil
}

// A filledPipeline is a process with an enricher and a router that have not started, and a full TTY stream.
type filledPipeline struct {
	*child
	dir    string
	filled filling
}

func startPipeline(ctx context.Context, s *settings, name string, setup pipelineSetup, share float64, run int) (*filledPipeline, error) {
	p := new(filledPipeline)
	var err error
	if p.dir, err = os.MkdirTemp(s.dir, "pipeline-"); err != nil {
		return nil, err
	}
	setup.Dir = p.dir
	setup.Seed, setup.Sessions, setup.Lines = s.seed, s.sessions, int(share*float64(s.lines))
	if s.profiles != "" {
		setup.Profile = filepath.Join(s.profiles, fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(name, "/", "-"), run+1))
	}
	if p.child, err = startChild(ctx, "pipeline", setup, &p.filled); err != nil {
		os.RemoveAll(p.dir)
		return nil, err
	}
	return p, nil
}

// stop stops the enricher and the router, and gives the processor time that the process used.
func (p *filledPipeline) stop() (time.Duration, error) {
	var a pipelineAnswer
	err := p.ask(askStop, &a)
	return a.Processor, err
}

// check holds what arrived against what was put in.
func (p *filledPipeline) check(records int) error {
	if want := p.filled.records(); records != want {
		return fmt.Errorf("%d records arrived of %d", records, want)
	}
	return nil
}

func (p *filledPipeline) sample(took, used time.Duration) sample {
	lines := float64(p.filled.Lines)
	return sample{linesMeasured: lines, linesPerSecond: lines / took.Seconds(), secondsPerMillion: used.Seconds() / lines * 1e6}
}

func (p *filledPipeline) end() {
	p.close() // its error is that of a run that has failed already
	os.RemoveAll(p.dir)
}
