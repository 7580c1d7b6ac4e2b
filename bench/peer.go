package main

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
)

// peerFiles are the peers' configurations, each a template of a [peerConfig].
//
//go:embed peers
var peerFiles embed.FS

// A peer is a program of others that forwards the same records to the same receiver: from a file of
// lines, or from a JetStream stream with a message a line.
type peer struct {
	key     string
	program program
	config  string // a file of peerFiles
	kind    string // of the input
	// share is the part of settings.records that it gets: slow ones get less.
	share  float64
	inputs *inputs
	// stream: the input is in JetStream.
	stream bool
	to     receiverSetup
	node   *node // of Elasticsearch, or nil
	// prefix is what the program puts in front of the fields' names there.
	prefix string

	settings *settings
	receiver *receiver // of prepare, where there is no node
	lines    *lines    // of prepare, with stream
	input    input
	runs     int
}

// A program is one that this machine may have.
type program interface {
	// find is a *missingError that says how to install it where it is not there.
	find() error
	// start starts it with a configuration, in a folder of its own.
	start(ctx context.Context, dir, config string) (*server, error)
}

// peerConfig is what a configuration may use.
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
	Version          string // of syslog-ng's configurations

	Batch, BatchBytes int // of a drain of ttydrain
}

func (p *peer) name() string { return p.key }

func (p *peer) prepare(ctx context.Context, s *settings) (err error) {
	p.settings = s
	if err := p.program.find(); err != nil {
		return err
	}
	if p.node != nil {
		if err := p.node.open(); err != nil {
			return err
		}
	} else if p.receiver, err = openReceiver(ctx, s, p.to); err != nil {
		return err
	}
	if p.input, err = p.inputs.get(ctx, s, p.kind, int(p.share*float64(s.records))); err != nil || !p.stream {
		return err
	}
	p.lines, err = startLines(ctx, s, linesSetup{Input: p.input.File})
	return err
}

func (p *peer) close() {
	if p.receiver != nil {
		p.receiver.close()
	}
	if p.node != nil {
		p.node.close()
	}
	if p.lines != nil {
		p.lines.close()
	}
}

// run measures the time from the arrival of the first record to that of the last, for what had not
// arrived with the first, so that the program's start does not count. Processor time is of all that
// it does: it may have read much before anything arrives.
func (p *peer) run(ctx context.Context) (sample, error) {
	p.runs++
	dir, err := os.MkdirTemp(p.settings.dir, "peer-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := peerConfig{Dir: dir, Input: p.input.File, Group: fmt.Sprintf("run-%d", p.runs), Batch: batchRecords, BatchBytes: batchBytes}
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
		if c.DataStream, err = p.node.newDataStream(ctx); err != nil {
			return nil, err
		}
		arriving = &nodeArrivals{p.node, c.DataStream, p.prefix, p.input.filling}
	} else {
		c.Host, c.Port, _ = net.SplitHostPort(p.receiver.Address)
		c.CAFile = p.receiver.CAFile
		if err := p.receiver.begin(); err != nil {
			return nil, err
		}
		arriving = &receiverArrivals{p.receiver, p.input.filling}
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
	defer server.stop()
	got, err := p.measure(ctx, server, arriving, began)
	if err != nil {
		if p.receiver != nil {
			p.receiver.cmd.Process.Kill() // it may wait for what never comes
		}
		return nil, &failedError{err, server.output()}
	}
	server.stop()
	if err := arriving.exactly(ctx); err != nil {
		return nil, &failedError{err, server.output()}
	}
	return got, nil
}

// write writes the configuration.
func (p *peer) write(c peerConfig) (file string, err error) {
	if ng, ok := p.program.(*syslogNG); ok {
		c.Version = ng.version
	}
	t, err := template.ParseFS(peerFiles, "peers/"+p.config)
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

// arrivals is what arrives, at a receiver or at a node.
type arrivals interface {
	// first waits until something has arrived.
	first(context.Context) (received, error)
	// all waits until everything has.
	all(context.Context) (received, error)
	// exactly holds what has arrived, now that nothing more comes, against what was sent.
	exactly(context.Context) error
}

func (p *peer) measure(ctx context.Context, s *server, arriving arrivals, began time.Time) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the program, or with measure
		select {
		case <-s.done:
			cancel(errors.New("it has ended"))
		case <-ctx.Done():
		}
	}()
	before, err := arriving.first(ctx)
	if err != nil {
		return nil, err
	}
	if before.Records == 0 {
		return nil, errors.New("nothing arrived")
	}
	if before.Records > p.input.Records/10 { // too little is left to be measured
		before = received{}
	} else {
		began = time.Now()
	}
	got, err := arriving.all(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	used, err := processTreeTime(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	peak, err := processTreePeak(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if err := got.whole(); err != nil {
		return nil, err
	}
	measured := newSample(p.input.filling, took, used, peak, got)
	measured[recordsPerSecond] = float64(got.Records-before.Records) / took.Seconds()
	return measured, nil
}

type receiverArrivals struct {
	receiver *receiver
	filling  filling
}

func (a *receiverArrivals) first(ctx context.Context) (received, error) {
	return waitFor(ctx, a.receiver.first)
}

func (a *receiverArrivals) all(ctx context.Context) (received, error) {
	return waitFor(ctx, func() (received, error) { return a.receiver.await(a.filling.Sessions) })
}

func (a *receiverArrivals) exactly(context.Context) error { return a.receiver.exactly(a.filling) }

// waitFor asks a receiver, whose answer nobody takes when ctx is done first.
func waitFor(ctx context.Context, ask func() (received, error)) (got received, err error) {
	done := make(chan struct{})
	go func() { // ends with the answer, or with the receiver
		got, err = ask()
		close(done)
	}()
	select {
	case <-done:
		return got, err
	case <-ctx.Done():
		return received{}, context.Cause(ctx)
	}
}

type nodeArrivals struct {
	node           *node
	stream, prefix string
	filling        filling
}

func (a *nodeArrivals) first(ctx context.Context) (received, error) { return a.until(ctx, 1) }

func (a *nodeArrivals) all(ctx context.Context) (received, error) {
	return a.until(ctx, a.filling.Records)
}

func (a *nodeArrivals) until(ctx context.Context, records int) (received, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	before, since := 0, time.Now()
	for {
		n, err := a.node.indexed(ctx, a.stream)
		if err != nil {
			return received{}, err
		}
		if n >= records || n == before && time.Since(since) > patience {
			return received{Records: n, Ends: a.filling.Records}, nil
		}
		if n != before {
			before, since = n, time.Now()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return received{}, context.Cause(ctx)
		}
	}
}

func (a *nodeArrivals) exactly(ctx context.Context) error {
	return a.node.exactly(ctx, a.stream, a.prefix, a.filling)
}
