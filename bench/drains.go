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
	recordsMeasured    = "records"
	bytesPerRecord     = "bytes_per_record"
	recordsPerSecond   = "records_per_second"
	secondsPerMillion  = "processor_seconds_per_million_records"
	receiverPerMillion = "receiver_processor_seconds_per_million_records"
	receivedPerRecord  = "received_bytes_per_record"
	peakMemory         = "peak_memory_megabytes"
)

// A drain is the way from the TTY stream to one drain: each run fills a stream of its own, and
// measures from the start of the enricher and the router to the arrival of the last record.
type drain struct {
	key   string // its name
	setup pipelineSetup
	// share is the part of settings.records that it gets: slow ones get less, so that they take about
	// as long as the others.
	share float64
	// receiving is the receiver's setup.
	receiving receiverSetup

	settings *settings
	receiver *receiver // of prepare
	runs     int
}

// What every record has once as JSON, and what the last one of a session has. Quotes within a
// string are escaped, so that nothing in a session looks like it.
const (
	jsonUnit = `{"@timestamp":"`
	jsonLast = `"event":"end"`
)

// syslogLast is the same of syslog messages, where it is near the beginning.
const syslogLast = " end [session@32473 "

// What the receivers of drains are.
var (
	httpReceiver   = receiverSetup{Protocol: "https", Unit: jsonUnit, Last: jsonLast}
	syslogReceiver = receiverSetup{Protocol: "syslog", Last: syslogLast}
)

// drains are the drains that have no peers to compare with.
func drains() group {
	return group{
		&drain{key: "https/array", share: 1, receiving: httpReceiver, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: https.Array}}},
		&drain{key: "keystrokes/https/ndjson", share: 0.1, receiving: httpReceiver,
			setup: pipelineSetup{Keystrokes: true, Drain: drainSetup{Type: "https", Format: https.NDJSON}}},
	}
}

func (d *drain) name() string { return d.key }

func (d *drain) prepare(ctx context.Context, s *settings) (err error) {
	d.settings = s
	if d.receiver, err = openReceiver(ctx, s, d.receiving); err != nil {
		return err
	}
	d.setup.Drain.Address, d.setup.Drain.CAFile = d.receiver.Address, d.receiver.CAFile
	return nil
}

// openReceiver starts a receiver with a folder of its own.
func openReceiver(ctx context.Context, s *settings, setup receiverSetup) (_ *receiver, err error) {
	if setup.Dir, err = os.MkdirTemp(s.dir, "receiver-"); err != nil {
		return nil, err
	}
	return startReceiver(ctx, setup)
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
	stopped, err := p.stop()
	if err != nil {
		return nil, err
	}
	if err := d.receiver.exactly(p.filled); err != nil {
		return nil, err
	}
	return newSample(p.filled, took, stopped.Processor, stopped.PeakMemory, got), nil
}

// exactly holds what has arrived, now that nothing more comes, against what was sent.
func (r *receiver) exactly(f filling) error {
	got, err := r.count()
	if err != nil {
		return err
	}
	return got.exactly(f)
}

func (r received) exactly(f filling) error {
	if err := r.whole(); err != nil {
		return err
	}
	if r.Sessions != f.Sessions || r.Shown != f.Bytes {
		return fmt.Errorf("%d sessions of %d bytes arrived, of %d of %d bytes", r.Sessions, r.Shown, f.Sessions, f.Bytes)
	}
	return nil
}

// newSample makes the metrics of records that went to a receiver in a time, where the sender has
// used so much.
func newSample(f filling, took, used time.Duration, memory int64, got received) sample {
	n := float64(got.Records)
	s := sample{
		recordsMeasured: n, recordsPerSecond: n / took.Seconds(), secondsPerMillion: used.Seconds() / n * 1e6, peakMemory: float64(memory) / 1e6,
		bytesPerRecord: float64(f.Bytes) / float64(f.Records),
	}
	if got.Processor > 0 { // a node's is not measured
		s[receiverPerMillion] = got.Processor.Seconds() / n * 1e6
		s[receivedPerRecord] = float64(got.Bytes) / n
	}
	return s
}

// A filledPipeline is a process with an enricher and a router that have not started, and a full TTY
// stream.
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
	setup.Seed, setup.Sessions, setup.Records = s.seed, s.sessions, int(share*float64(s.records))
	if s.profiles != "" {
		setup.Profile = filepath.Join(s.profiles, fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(name, "/", "-"), run+1))
	}
	if p.child, err = startChild(ctx, "pipeline", setup, &p.filled); err != nil {
		os.RemoveAll(p.dir)
		return nil, err
	}
	return p, nil
}

// stop stops the enricher and the router, and gives what the process used.
func (p *filledPipeline) stop() (a pipelineAnswer, err error) {
	return a, p.ask(askStop, &a)
}

func (p *filledPipeline) end() {
	p.close() // its error is that of a run that has failed already
	os.RemoveAll(p.dir)
}
