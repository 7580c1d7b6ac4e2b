package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// A limit is a loop that sends prepared requests or frames. Its rate is the highest that the
// receiver allows.
type limit struct {
	key    string
	kind   string // of the input
	share  float64
	setup  limitSetup
	inputs *inputs
	to     receivers.Setup // Protocol is "" for a node
	node   *receivers.Node // of Elasticsearch, or nil

	settings *measure.Settings
	receiver *receivers.Receiver // set by Prepare, if there is no node
	input    input
}

// limitSetup is the setup of the process of a limit.
type limitSetup struct {
	// Protocol is "https", "syslog" or "elasticsearch".
	Protocol string
	// Address is the host and port of the receiver, or the URL of bulk requests.
	Address, CAFile string
	Input           string // its file
	// Batch is the maximum number of records in a request.
	Batch int
	// Connections is the number of HTTP/1.1 connections: the fastest number on two CPUs. HTTP/2 is
	// slower, and both sides use more CPU time.
	Connections int
}

// warmUps is the number of times that a node gets the input before the first round.
const warmUps = 3

func (l *limit) Name() string { return l.key }

func (l *limit) Prepare(ctx context.Context, s *measure.Settings) (err error) {
	l.settings = s
	if l.node != nil {
		if err := l.node.Open(); err != nil {
			return err
		}
	} else if l.receiver, err = receivers.Open(ctx, s, l.to); err != nil {
		return err
	}
	if l.input, err = l.inputs.get(ctx, s, l.kind, int(l.share*float64(s.Records))); err != nil || l.node == nil {
		return err
	}
	// A node that has just started is slow.
	for range warmUps {
		if _, err := l.Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *limit) Close() {
	if l.receiver != nil {
		l.receiver.Close()
	}
	if l.node != nil {
		l.node.Close()
	}
}

func (l *limit) Run(ctx context.Context) (measure.Sample, error) {
	setup := l.setup
	setup.Input = l.input.File
	var stream string
	if l.node != nil {
		var err error
		if stream, err = l.node.NewDataStream(ctx); err != nil {
			return nil, err
		}
		setup.Address = l.node.URL + "/" + stream + "/_bulk?filter_path=errors"
	} else {
		setup.Address, setup.CAFile = l.receiver.Address, l.receiver.CAFile
		if err := l.receiver.Begin(); err != nil {
			return nil, err
		}
	}
	var ready struct{}
	c, err := process.StartChild(ctx, "limit", setup, &ready)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	began := time.Now()
	if err := c.Send(drains.AskGo); err != nil {
		return nil, err
	}
	var got receivers.Counts
	if l.node == nil {
		if got, err = l.receiver.AwaitSessions(l.input.Sessions); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	var a process.Usage
	if err := c.Receive(&a); err != nil {
		return nil, err
	}
	if l.node != nil {
		took = time.Since(began)
		if err := l.node.Verify(ctx, stream, "", l.input.Totals); err != nil {
			return nil, err
		}
		got.Records = l.input.Records
	} else if err := l.receiver.Verify(l.input.Totals); err != nil {
		return nil, err
	}
	return receivers.NewSample(l.input.Totals, took, a.Processor, a.PeakMemory, got), nil
}

// LimitMain is the role of the process of a limit.
func LimitMain(in *json.Decoder, out *json.Encoder) error {
	var setup limitSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	send, err := setup.make()
	if err != nil {
		return err
	}
	if err := out.Encode(struct{}{}); err != nil {
		return err
	}
	var question string
	if err := in.Decode(&question); err != nil {
		return err
	}
	answer, err := process.MeasureUsage(send)
	if err != nil {
		return err
	}
	if err := out.Encode(answer); err != nil {
		return err
	}
	return in.Decode(&question) // returns at the end of the input
}

// make prepares everything to send.
func (l limitSetup) make() (send func() error, err error) {
	data, err := os.ReadFile(l.Input)
	if err != nil {
		return nil, err
	}
	config := new(tls.Config)
	if l.CAFile != "" {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	switch l.Protocol {
	case "https":
		return l.post("https://"+l.Address+"/", config, batches(data, l.Batch)), nil
	case "elasticsearch":
		var bodies [][]byte
		for _, batch := range batches(data, l.Batch) {
			var body []byte
			for line := range bytes.Lines(batch) {
				id, document, _ := bytes.Cut(line, []byte("\t"))
				body = fmt.Appendf(body, "{\"create\":{\"_id\":%q}}\n%s", id, document)
			}
			bodies = append(bodies, body)
		}
		return l.post(l.Address, config, bodies), nil
	case "syslog":
		var frames []byte
		for line := range bytes.Lines(data) {
			message := line[:len(line)-1]
			frames = append(append(strconv.AppendInt(frames, int64(len(message)), 10), ' '), message...)
		}
		config.ServerName = "localhost"
		return func() error { return sendFrames(l.Address, config, frames) }, nil
	}
	return nil, fmt.Errorf("unknown protocol %q", l.Protocol)
}

// batches cuts data into pieces of that many lines, and of at most the bytes of a drain's batch.
func batches(data []byte, lines int) (all [][]byte) {
	start, end, n := 0, 0, 0
	for line := range bytes.Lines(data) {
		if n == lines || n > 0 && end+len(line)-start > drains.BatchBytes {
			all = append(all, data[start:end])
			start, n = end, 0
		}
		end += len(line)
		n++
	}
	return append(all, data[start:end])
}

// post returns a function that posts all bodies.
func (l limitSetup) post(url string, config *tls.Config, bodies [][]byte) func() error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, MaxIdleConnsPerHost: l.Connections, WriteBufferSize: 64 << 10,
	}}
	return func() error {
		var next atomic.Int64
		var g errgroup.Group
		for range l.Connections {
			g.Go(func() error {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(bodies) {
						return nil
					}
					if err := postOne(client, url, bodies[i]); err != nil {
						return err
					}
				}
			})
		}
		return g.Wait()
	}
}

func postOne(client *http.Client, url string, body []byte) error {
	answer, err := client.Post(url, "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || bytes.Contains(said, []byte(`"errors":true`)) {
		return fmt.Errorf("the receiver answered %s: %s", answer.Status, said[:min(len(said), 500)])
	}
	return nil
}

// sendFrames sends frames on one connection.
func sendFrames(address string, config *tls.Config, frames []byte) error {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	_, err = conn.Write(frames)
	return errors.Join(err, conn.Close())
}
