package peers

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// peerFiles has the peers' configurations, which are templates of a [peerConfig].
//
//go:embed *.conf *.yaml
var peerFiles embed.FS

// A peer is another log forwarder. It sends the same records to the same receiver, from a file of
// lines or from a JetStream stream with one message per line.
type peer struct {
	key     string
	program program
	config  string // a file of peerFiles
	kind    string // of the input
	// share is the share of the records that it gets.
	share  float64
	inputs *inputs
	// stream: the input is a JetStream stream.
	stream bool
	to     receivers.Setup
	node   *receivers.Node // of Elasticsearch, or nil
	// prefix is the prefix that the program adds to field names in Elasticsearch.
	prefix string

	settings *measure.Settings
	receiver *receivers.Receiver // set by Prepare, if there is no node
	lines    *lines              // set by Prepare, if stream is true
	input    input
	runs     int
}

// A program is a log forwarder that may be installed on this machine.
type program interface {
	// find finds the program. It returns a [*measure.MissingError] with installation instructions if
	// it is not installed.
	find() error
	// start starts the program with a configuration, in a folder of its own.
	start(ctx context.Context, dir, config string) (*process.Server, error)
}

// peerConfig has the values for the templates of configurations.
type peerConfig struct {
	Dir        string // for its state
	Input      string // a file, or the URL of a NATS server with the stream LINES
	Group      string // unique for the run
	Host, Port string // of the receiver
	CAFile     string
	URL        string // of Elasticsearch
	// URLHost and URLPort are those of the URL.
	URLHost, URLPort string
	DataStream       string
	Version          string // of syslog-ng's configuration format

	Batch, BatchBytes int // of a drain of ttydrain
}

func (p *peer) Name() string { return p.key }

func (p *peer) Prepare(ctx context.Context, s *measure.Settings) (err error) {
	p.settings = s
	if err := p.program.find(); err != nil {
		return err
	}
	if p.node != nil {
		if err := p.node.Open(); err != nil {
			return err
		}
	} else if p.receiver, err = receivers.Open(ctx, s, p.to); err != nil {
		return err
	}
	if p.input, err = p.inputs.get(ctx, s, p.kind, int(p.share*float64(s.Records))); err != nil || !p.stream {
		return err
	}
	p.lines, err = startLines(ctx, s, linesSetup{Input: p.input.File})
	return err
}

func (p *peer) Close() {
	if p.receiver != nil {
		p.receiver.Close()
	}
	if p.node != nil {
		p.node.Close()
	}
	if p.lines != nil {
		p.lines.Close()
	}
}

// Run measures the time from the arrival of the first record to that of the last, for the records
// that had not arrived with the first, so that the start of the program does not count. The CPU
// time is that since its start, because it may read much before the first record arrives.
func (p *peer) Run(ctx context.Context) (measure.Sample, error) {
	p.runs++
	dir, err := os.MkdirTemp(p.settings.Dir, "peer-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := peerConfig{Dir: dir, Input: p.input.File, Group: fmt.Sprintf("run-%d", p.runs), Batch: drains.BatchRecords, BatchBytes: drains.BatchBytes}
	if p.stream {
		c.Input = p.lines.ready.URL
	}
	var arriving arrivals
	if p.node != nil {
		c.URL = p.node.URL
		at, err := url.Parse(c.URL)
		if err != nil {
			return nil, err
		}
		c.URLHost, c.URLPort = at.Hostname(), at.Port()
		if c.DataStream, err = p.node.NewDataStream(ctx); err != nil {
			return nil, err
		}
		arriving = &nodeArrivals{p.node, c.DataStream, p.prefix, p.input.Totals}
	} else {
		c.Host, c.Port, _ = net.SplitHostPort(p.receiver.Address)
		c.CAFile = p.receiver.CAFile
		if err := p.receiver.Begin(); err != nil {
			return nil, err
		}
		arriving = &receiverArrivals{p.receiver, p.input.Totals}
	}
	config, err := p.write(c)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	server, err := p.program.start(ctx, dir, config)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	got, err := p.measure(ctx, server, arriving, began)
	if err != nil {
		if p.receiver != nil {
			p.receiver.Kill() // it may wait for records that never come
		}
		return nil, &measure.FailedError{Err: err, Output: server.Output()}
	}
	server.Stop()
	if err := arriving.exactly(ctx); err != nil {
		return nil, &measure.FailedError{Err: err, Output: server.Output()}
	}
	return got, nil
}

// write writes the configuration into a file.
func (p *peer) write(c peerConfig) (file string, err error) {
	if ng, ok := p.program.(*syslogNG); ok {
		c.Version = ng.version
	}
	t, err := template.ParseFS(peerFiles, p.config)
	if err != nil {
		return "", err
	}
	file = filepath.Join(c.Dir, p.config)
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	return file, errors.Join(t.Execute(f, c), f.Close())
}

// measure waits for the records and returns the metrics. It fails when the program ends.
func (p *peer) measure(ctx context.Context, s *process.Server, arriving arrivals, began time.Time) (measure.Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the program, or when measure returns
		select {
		case <-s.Done:
			cancel(errors.New("the program has ended"))
		case <-ctx.Done():
		}
	}()
	before, err := arriving.first(ctx)
	if err != nil {
		return nil, err
	}
	if before.Records == 0 {
		return nil, errors.New("no record arrived")
	}
	if before.Records > p.input.Records/10 { // too few are left to measure
		before = receivers.Counts{}
	} else {
		began = time.Now()
	}
	got, err := arriving.all(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	used, err := process.TreeCPUTime(s.PID())
	if err != nil {
		return nil, err
	}
	peak, err := process.TreePeakMemory(s.PID())
	if err != nil {
		return nil, err
	}
	if err := got.Complete(); err != nil {
		return nil, err
	}
	measured := receivers.NewSample(p.input.Totals, took, used, peak, got)
	measured[measure.RecordsPerSecond] = float64(got.Records-before.Records) / took.Seconds()
	return measured, nil
}
