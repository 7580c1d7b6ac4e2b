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

// linesSetup says what the process of a JetStream server is to hold.
type linesSetup struct {
	Dir string // its own
	// Input is a file of which each line becomes a message of the stream linesStream; "" for the LOGS
	// stream of sessions.
	Input             string
	Seed              uint64 // of the sessions
	Sessions, Records int
}

const (
	linesStream  = "LINES"
	linesSubject = "lines"
	// linesAhead is how many messages a consumer of the stream may have and not acknowledge, where it
	// says nothing.
	linesAhead = 50_000
)

// linesReady is what the process says then.
type linesReady struct {
	URL            string // of the NATS server with linesStream
	Messages       int
	corpus.Filling // of the LOGS stream
}

// A jetStreamLimit is what JetStream gives a consumer in the server's own process that throws
// everything away.
type jetStreamLimit struct {
	key      string
	segments bool // of ttydrain's LOGS stream, in place of a message a line
	share    float64
	inputs   *inputs

	settings *measure.Settings
	lines    *lines // of prepare
}

// lines is a process of a JetStream server.
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
	j.lines.ready.Filling = in.Filling
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
	return receivers.NewSample(j.lines.ready.Filling, took, a.Processor, a.PeakMemory, receivers.Received{Records: j.lines.ready.Records}), nil
}

// linesMain is the process. Whenever it is asked, it reads the whole stream.
func LinesMain(in *json.Decoder, out *json.Encoder) error {
	var setup linesSetup
	if err := in.Decode(&setup); err != nil {
		return err
	}
	ctx := context.Background() // the process ends with its input
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

// holdLines fills a stream with the lines of a file.
func holdLines(ctx context.Context, setup linesSetup) (ready linesReady, read func(context.Context) error, err error) {
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: setup.Dir, NoSigs: true, JetStreamMaxStore: 1 << 60})
	if err != nil {
		return ready, nil, err
	}
	go s.Start() // ends with the process
	if !s.ReadyForConnections(30 * time.Second) {
		return ready, nil, fmt.Errorf("the NATS server did not start")
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
		// Its own: it may be sent when the next line has been read.
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

// holdSegments fills a LOGS stream, with ttydrain's own enricher.
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
	if ready.Filling, err = drains.Fill(ctx, b, key, setup.Seed, setup.Sessions, setup.Records, false); err != nil {
		return ready, nil, err
	}
	enricher := enricher.New(enricher.Options{
		Bus: b, Signer: key, Metrics: enricher.NewMetrics(prometheus.NewRegistry()), Log: log,
		Document: func(u schema.User) (string, error) { return key.Mint("https://auth.example.com", u, time.Now()) },
	})
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- enricher.Run(ctx) }() // ends with stop
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
