package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
	"github.com/ttydrain/ttydrain/schema"
)

// linesSetup is the setup of the process with a JetStream server.
type linesSetup struct {
	Dir string // its own folder
	// Input is a file whose lines become messages of the stream linesStream; "" for a LOGS stream
	// instead.
	Input             string
	Seed              uint64 // of the sessions on the LOGS stream
	Sessions, Records int
}

const (
	linesStream  = "LINES"
	linesSubject = "lines"
	// linesAhead is the default limit of unacknowledged messages of a consumer.
	linesAhead = 50_000
)

// linesReady is the answer of the process when the stream is filled.
type linesReady struct {
	URL           string // of the NATS server with linesStream
	Messages      int
	corpus.Totals // of the LOGS stream
}

// A jetStreamLimit is the rate of a consumer in the JetStream server's own process that discards
// all messages.
type jetStreamLimit struct {
	key      string
	segments bool // of ttydrain's LOGS stream, instead of one message per line
	share    float64
	inputs   *inputs

	settings *measure.Settings
	lines    *lines // set by Prepare
}

// lines is a process with a JetStream server.
type lines struct {
	*process.Child
	ready linesReady
}

func startLines(ctx context.Context, s *measure.Settings, setup linesSetup) (_ *lines, err error) {
	if setup.Dir, err = os.MkdirTemp(s.Dir, "jetstream-"); err != nil {
		return nil, err
	}
	l := new(lines)
	if l.Child, err = process.StartChild(ctx, "lines", setup, &l.ready); err != nil {
		return nil, err
	}
	return l, nil
}

func (j *jetStreamLimit) Name() string { return j.key }

func (j *jetStreamLimit) Prepare(ctx context.Context, s *measure.Settings) error {
	j.settings = s
	records := int(j.share * float64(s.Records))
	setup := linesSetup{Seed: s.Seed, Sessions: s.Sessions, Records: records}
	in, err := j.inputs.get(ctx, s, inputJSON, records)
	if err != nil {
		return err
	}
	if !j.segments {
		setup.Input = in.File
	}
	if j.lines, err = startLines(ctx, s, setup); err != nil {
		return err
	}
	// Both streams have the same records.
	j.lines.ready.Totals = in.Totals
	return nil
}

func (j *jetStreamLimit) Close() {
	if j.lines != nil {
		j.lines.Close()
	}
}

func (j *jetStreamLimit) Run(context.Context) (measure.Sample, error) {
	var a process.Usage
	began := time.Now()
	if err := j.lines.Ask(drains.AskGo, &a); err != nil {
		return nil, err
	}
	took := time.Since(began)
	return receivers.NewSample(j.lines.ready.Totals, took, a.Processor, a.PeakMemory, receivers.Counts{Records: j.lines.ready.Records}), nil
}

// LinesMain is the role of the process. It reads the whole stream for each question.
func LinesMain(in *json.Decoder, out *json.Encoder) error {
	var setup linesSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	ctx := context.Background() // the process ends when its input does
	hold := holdLines
	if setup.Input == "" {
		hold = holdSegments
	}
	ready, read, err := hold(ctx, setup)
	if err != nil {
		return fmt.Errorf("fill a stream: %w", err)
	}
	if err := out.Encode(ready); err != nil {
		return err
	}
	for {
		var question string
		if err := in.Decode(&question); err != nil {
			return err
		}
		if err := process.ResetPeak(); err != nil {
			return err
		}
		answer, err := process.MeasureUsage(func() error { return read(ctx) })
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// holdLines fills a stream with the lines of a file, and returns a function that reads it.
func holdLines(ctx context.Context, setup linesSetup) (ready linesReady, read func(context.Context) error, err error) {
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: setup.Dir, NoSigs: true, JetStreamMaxStore: 1 << 60})
	if err != nil {
		return ready, nil, err
	}
	go s.Start() // ends with the process
	if !s.ReadyForConnections(30 * time.Second) {
		return ready, nil, fmt.Errorf("start the NATS server: it is not ready after 30 seconds")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return ready, nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		return ready, nil, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: linesStream, Subjects: []string{linesSubject}, ConsumerLimits: jetstream.StreamConsumerLimits{MaxAckPending: linesAhead},
	}); err != nil {
		return ready, nil, err
	}
	f, err := os.Open(setup.Input)
	if err != nil {
		return ready, nil, err
	}
	defer f.Close()
	from := bufio.NewScanner(f)
	from.Buffer(nil, 1<<20)
	for from.Scan() {
		// A copy, since it may be sent after the next line has been read.
		if _, err := js.PublishAsync(linesSubject, []byte(from.Text())); err != nil {
			return ready, nil, err
		}
		ready.Messages++
	}
	if err := from.Err(); err != nil {
		return ready, nil, err
	}
	<-js.PublishAsyncComplete()
	stream, err := js.Stream(ctx, linesStream)
	if err != nil {
		return ready, nil, err
	}
	if got := int(stream.CachedInfo().State.Msgs); got != ready.Messages {
		return ready, nil, fmt.Errorf("the stream has %d messages of %d lines", got, ready.Messages)
	}
	ready.URL = s.ClientURL()
	return ready, func(ctx context.Context) error {
		consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		messages, err := consumer.Messages(jetstream.PullMaxMessages(5000))
		if err != nil {
			return err
		}
		defer messages.Stop()
		for range ready.Messages {
			if _, err := messages.Next(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// holdSegments fills a LOGS stream with ttydrain's own enricher, and returns a function that reads
// it.
func holdSegments(ctx context.Context, setup linesSetup) (ready linesReady, read func(context.Context) error, err error) {
	key, err := enrich.LoadKey(filepath.Join(setup.Dir, "key.pem"), "")
	if err != nil {
		return ready, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bus.Open(ctx, bus.Options{Store: filepath.Join(setup.Dir, "data"), Log: log})
	if err != nil {
		return ready, nil, err
	}
	if ready.Totals, err = drains.Fill(ctx, b, key, setup.Seed, setup.Sessions, setup.Records, false); err != nil {
		return ready, nil, err
	}
	enricher := enricher.New(enricher.Options{
		Bus: b, Signer: key, Metrics: enricher.NewMetrics(prometheus.NewRegistry()), Log: log,
		Document: corpus.UserDocuments(key),
	})
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- enricher.Run(ctx) }() // ends when stop is called
	reader, err := b.Read(ctx, schema.StreamLogs, []string{schema.FilterLogs(-1, "", "")}, 0)
	if err != nil {
		stop()
		return ready, nil, err
	}
	var decoder schema.Decoder
	for ends := 0; ends < setup.Sessions; {
		m, err := reader.Next(ctx)
		if err != nil {
			stop()
			return ready, nil, err
		}
		segment, err := decoder.Segment(m.Data)
		if err != nil {
			stop()
			return ready, nil, err
		}
		if segment.Records[len(segment.Records)-1].Event == schema.EventEnd {
			ends++
		}
		ready.Messages++
	}
	reader.Close()
	stop()
	if err := <-done; err != nil {
		return ready, nil, err
	}
	return ready, func(ctx context.Context) error {
		reader, err := b.Read(ctx, schema.StreamLogs, []string{schema.FilterLogs(-1, "", "")}, 0)
		if err != nil {
			return err
		}
		defer reader.Close()
		for range ready.Messages {
			if _, err := reader.Next(ctx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
