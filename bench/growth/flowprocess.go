package growth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/router"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A flowProcess is the state of the process of a flow.
type flowProcess struct {
	setup     flowSetup
	key       *enrich.Key
	documents func(schema.User) (string, error) // signs user documents with key
	bus       *bus.Bus
	log       *slog.Logger
	registry  *prometheus.Registry
	metrics   *router.Metrics
	sessions  *session.Metrics
	enricher  *enricher.Enricher
	operator  *operate.Operator // nil before doRoute
	work      errgroup.Group
	live      *live   // or nil
	feeder    *feeder // or nil
	state     flowState
}

// FlowMain is the role of the process.
func FlowMain(in *json.Decoder, out *json.Encoder) error {
	f := &flowProcess{registry: prometheus.NewRegistry()}
	if err := in.Decode(&f.setup); err != nil {
		return err
	}
	drains.TuneRuntime()
	log, err := os.Create(filepath.Join(f.setup.Dir, flowLog))
	if err != nil {
		return err
	}
	defer log.Close()
	f.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := context.WithCancel(context.Background()) // the process ends when its input does
	defer stop()
	url, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		stop()
		f.work.Wait() // they return no error after stop
		f.bus.Close()
	}()
	if err := out.Encode(flow{URL: url}); err != nil {
		return err
	}
	defer pprof.StopCPUProfile() // does nothing if none was started
	for {
		var o flowOrder
		if err := in.Decode(&o); err != nil {
			return err
		}
		if err := f.execute(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
		if err := f.report(); err != nil {
			return err
		}
		if err := out.Encode(f.state); err != nil {
			return err
		}
	}
}

func (f *flowProcess) open(ctx context.Context) (url string, err error) {
	if f.key, err = enrich.LoadKey(filepath.Join(f.setup.Dir, "key.pem"), ""); err != nil {
		return "", err
	}
	o := bus.Options{Store: filepath.Join(f.setup.Dir, "data"), Retention: f.setup.Retention, Log: f.log}
	if f.setup.Listen > 0 {
		if url, err = listenNATS(o.Store); err != nil {
			return "", err
		}
		o.URL, o.Partitions = url, f.setup.Listen
	}
	f.documents = corpus.UserDocuments(f.key)
	if f.bus, err = bus.Open(ctx, o); err != nil {
		return "", err
	}
	f.metrics = router.NewMetrics(f.registry)
	f.sessions = session.NewMetrics(f.registry)
	f.enricher = enricher.New(enricher.Options{Bus: f.bus, Signer: f.key, Metrics: enricher.NewMetrics(f.registry), Log: f.log, Document: f.documents})
	return url, nil
}

// listenNATS starts a NATS server that syncs every write and listens on the loopback address. It
// ends with the process.
func listenNATS(dir string) (url string, err error) {
	s, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true,
		JetStreamMaxStore: 1 << 60,
	})
	if err != nil {
		return "", fmt.Errorf("create the NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return "", errors.New("start the NATS server: it is not ready after 30 seconds")
	}
	return s.ClientURL(), nil
}

// execute executes an order.
func (f *flowProcess) execute(ctx context.Context, o flowOrder) (err error) {
	switch o.Do {
	case doReport:
		return nil
	case doFill:
		if err := f.fill(ctx, o.Sessions, o.Lines); err != nil {
			return err
		}
		// The garbage of filling the stream does not count.
		runtime.GC()
		debug.FreeOSMemory()
		return process.ResetPeak()
	case doEnrich:
		if err := process.StartProfile(f.setup.Profile); err != nil {
			return err
		}
		f.work.Go(func() error { return f.enricher.Run(ctx) })
		return nil
	case doAwait:
		return f.enricher.Drain(ctx)
	case doRoute:
		return f.route(ctx, o.Drains)
	case doWrite:
		return f.write(ctx, o.Drains[0])
	case doRetry:
		if err := f.operator.Pause(ctx, o.Drain, true); err != nil {
			return err
		}
		return f.operator.Pause(ctx, o.Drain, false)
	case doLive:
		f.live, err = f.startLive(ctx, o.Sessions, o.Rate, o.Burst)
		return err
	case doStopLive:
		records, err := f.live.stop()
		if errors.Is(err, errSessionLost) {
			f.state.Lost, err = err.Error(), nil
		}
		f.state.Sessions += f.live.sessions
		f.state.Lines += int(f.live.lines.Load())
		f.state.Records += records
		f.live = nil
		return err
	case doFeed:
		f.feeder = newFeeder()
		f.feeder.done.Go(func() error { return f.feed(ctx, o.Sessions, o.Lines) })
		return nil
	case doDelivered:
		f.feeder.acknowledge(o.Records)
		return nil
	case doStopFeed:
		return f.feeder.stop()
	}
	return errors.New("unknown order")
}

func (f *flowProcess) fill(ctx context.Context, sessions, lines int) error {
	filled, err := drains.Fill(ctx, f.bus, f.key, f.setup.Seed+uint64(f.state.Sessions), sessions, lines, false)
	if err != nil {
		return err
	}
	f.state.Sessions += filled.Sessions
	f.state.Lines += filled.Lines
	f.state.Records += filled.Records
	return nil
}

func (f *flowProcess) route(ctx context.Context, drains []namedDrain) error {
	var all []drain.Drain
	for _, d := range drains {
		all = append(all, d.Routed(d.Name))
	}
	router, err := router.New(router.Options{Bus: f.bus, Metrics: f.metrics, Log: f.log, Drains: all})
	if err != nil {
		return err
	}
	f.operator = &operate.Operator{Bus: f.bus, Drains: all}
	f.work.Go(func() error { return router.Run(ctx) })
	return nil
}

// write writes all records on LOGS with a drain's sink. Only writing counts: the records are read
// and decoded in advance.
func (f *flowProcess) write(ctx context.Context, d namedDrain) error {
	var batches [][]sinks.Entry
	var decoder schema.Decoder
	size := drains.BatchBytes
	for partition := range f.bus.Partitions() {
		for after := uint64(0); ; {
			m, ok, err := f.bus.First(ctx, schema.StreamLogs, []string{schema.FilterLogs(partition, "", "")}, after)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			segment, err := decoder.Segment(bytes.Clone(m.Data))
			if err != nil {
				return err
			}
			if k := len(batches) - 1; k < 0 || size >= drains.BatchBytes || len(batches[k]) >= drains.BatchRecords {
				batches, size = append(batches, nil), 0
			}
			k := len(batches) - 1
			for i := range segment.Records {
				batches[k] = append(batches[k], sinks.Entry{Operation: segment.Operation, Record: &segment.Records[i]})
			}
			after, size = m.Sequence, size+len(m.Data)
		}
	}
	sink, err := d.Open()
	if err != nil {
		return err
	}
	defer sink.Close()
	runtime.GC()
	before := process.CPUTime()
	for _, batch := range batches {
		if err := sink.Write(ctx, batch); err != nil {
			return fmt.Errorf("write a batch: %w", err)
		}
	}
	f.state.Written = process.CPUTime() - before
	return nil
}

// report updates the state.
func (f *flowProcess) report() (err error) {
	if f.state.Memory, err = process.MemoryOf(os.Getpid()); err != nil {
		return err
	}
	families, err := f.registry.Gather()
	if err != nil {
		return err
	}
	f.state.Stages = make(map[string]float64)
	for _, family := range families {
		switch name := family.GetName(); name {
		case "ttydrain_records_published_total":
			f.state.Enriched = int(family.GetMetric()[0].GetCounter().GetValue())
		case "ttydrain_capture_duration_seconds", "ttydrain_enrich_duration_seconds", "ttydrain_drain_route_duration_seconds", "ttydrain_drain_write_duration_seconds":
			for _, m := range family.GetMetric() {
				f.state.Stages[name] = max(f.state.Stages[name], 1000*quantile(m.GetHistogram(), .99))
			}
		}
	}
	f.state.Processor = process.CPUTime()
	return nil
}

// quantile returns the upper bound of the bucket with a quantile.
func quantile(h *dto.Histogram, share float64) float64 {
	for _, b := range h.GetBucket() {
		if float64(b.GetCumulativeCount()) >= share*float64(h.GetSampleCount()) {
			return b.GetUpperBound()
		}
	}
	return 0
}
