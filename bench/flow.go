package main

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
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A flow is a process with the NATS server, the enricher and, unless that is another process, the
// router, in which sessions come and drains go as it is told, one order after another.
type flow struct {
	*child
	dir string
	// URL is that of the NATS server where it listens, or "".
	URL string
}

type flowSetup struct {
	Dir  string // its own, for the stores and keys
	Seed uint64
	// Listen has the NATS server listen, for routers in processes of their own, with as many
	// partitions; 0 has it embedded, as `ttydrain serve` has it by default.
	Listen int
	// Retention of the streams; 0 for the default.
	Retention time.Duration
	// Profile is a file for the processor profile from the first order to start something to the end,
	// or "".
	Profile string
}

// A flowOrder is what a flow is told. Its answer is always a flowState.
type flowOrder struct {
	Do string
	// Sessions and Lines are of doFill, doFeed and doLive; Rate is lines a second of doLive, of all
	// sessions together.
	Sessions, Lines int
	Rate            float64
	Burst           int // of doLive: lines that a session shows at once
	// Records is of doAllow: how many were delivered.
	Records int
	Drains  []namedDrain // of doRoute; the first also of doWrite
	Drain   string       // of doRetry
}

type namedDrain struct {
	Name string
	drainSetup
}

// What a flow can be told.
const (
	doLook   = "look"   // nothing: how does it stand?
	doFill   = "fill"   // publish sessions as fast as the stream takes them, to their ends
	doEnrich = "enrich" // start the enricher
	doAwait  = "await"  // wait until all that is on the TTY stream is on LOGS
	doRoute  = "route"  // start the router
	doWrite  = "write"  // write all that is on LOGS with a sink, without the router
	doRetry  = "retry"  // try a drain again at once, as an operator does: pause and resume
	doLive   = "live"   // start sessions that show lines at an even pace
	doQuiet  = "quiet"  // end them, and wait until their ends are recorded
	doFeed   = "feed"   // publish sessions, set after set, as far as the drain follows
	doAllow  = "allow"  // say how far that is
	doStarve = "starve" // end it
)

// A flowState is how a flow stands.
type flowState struct {
	Sessions, Lines, Records int           // that were published by orders which are done, to their ends
	Processor                time.Duration // that the process has used
	Written                  time.Duration // that doWrite has used
	Memory                   memory
	Enriched                 int // records that were put on LOGS
	// Lost says why live sessions ended by themselves; "" where none did.
	Lost string
	// Stages are the 99th percentiles of the metrics' histograms, in milliseconds, up to the bound of
	// their bucket.
	Stages map[string]float64
}

// memory is that of a process, in bytes.
type memory struct{ Resident, Peak int64 }

func startFlow(ctx context.Context, s *settings, setup flowSetup) (*flow, error) {
	f := new(flow)
	dir, err := os.MkdirTemp(s.dir, "flow-")
	if err != nil {
		return nil, err
	}
	setup.Dir, setup.Seed = dir, s.seed
	if f.child, err = startChild(ctx, "flow", setup, f); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	f.dir = dir
	return f, nil
}

// tell has the flow do something, and waits until it is done.
func (f *flow) tell(o flowOrder) (state flowState, err error) {
	if err := f.ask(o, &state); err != nil {
		log, _ := os.ReadFile(filepath.Join(f.dir, flowLog)) // what is there of it
		return state, fmt.Errorf("%w; its log:\n%s", err, log[max(0, len(log)-2000):])
	}
	return state, nil
}

// flowLog is the file in a flow's folder with what goes wrong and is tried again, as it does where
// the disk is slow.
const flowLog = "log"

func (f *flow) end() {
	f.close() // its error is that of a run that has failed already
	os.RemoveAll(f.dir)
}

// flowing is the process.
type flowing struct {
	setup    flowSetup
	key      *enrich.Key
	bus      *bus.Bus
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *pipeline.Metrics
	sessions *session.Metrics
	enricher *pipeline.Enricher
	operator *pipeline.Operator // nil before doRoute
	work     errgroup.Group
	live     *live   // nil where there is none
	feeder   *feeder // nil where there is none
	state    flowState
}

// flowMain is the process.
func flowMain(in *json.Decoder, out *json.Encoder) error {
	f := &flowing{registry: prometheus.NewRegistry()}
	if err := in.Decode(&f.setup); err != nil {
		return err
	}
	asServe()
	log, err := os.Create(filepath.Join(f.setup.Dir, flowLog))
	if err != nil {
		return err
	}
	defer log.Close()
	f.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := context.WithCancel(context.Background()) // the process ends with its input
	defer stop()
	url, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		stop()
		f.work.Wait() // both end without an error
		f.bus.Close()
	}()
	if err := out.Encode(flow{URL: url}); err != nil {
		return err
	}
	defer pprof.StopCPUProfile() // does nothing where none was started
	for {
		var o flowOrder
		if err := in.Decode(&o); err != nil {
			return err
		}
		if err := f.obey(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
		if err := f.look(); err != nil {
			return err
		}
		if err := out.Encode(f.state); err != nil {
			return err
		}
	}
}

func (f *flowing) open(ctx context.Context) (url string, err error) {
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
	if f.bus, err = bus.Open(ctx, o); err != nil {
		return "", err
	}
	f.metrics = pipeline.NewMetrics(f.registry)
	f.sessions = session.NewMetrics(f.registry)
	f.enricher = pipeline.NewEnricher(pipeline.EnricherOptions{Bus: f.bus, Signer: f.key, Metrics: f.metrics, Log: f.log, Document: f.document})
	return url, nil
}

func (f *flowing) document(u schema.User) (string, error) {
	return f.key.Mint("https://auth.example.com", u, time.Now())
}

// listenNATS starts a NATS server that syncs every write and listens on this machine alone. It ends
// with the process.
func listenNATS(dir string) (url string, err error) {
	s, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true,
		JetStreamMaxStore: 1 << 60,
	})
	if err != nil {
		return "", fmt.Errorf("set up the NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return "", errors.New("the NATS server did not start")
	}
	return s.ClientURL(), nil
}

func (f *flowing) obey(ctx context.Context, o flowOrder) (err error) {
	switch o.Do {
	case doLook:
		return nil
	case doFill:
		if err := f.fill(ctx, o.Sessions, o.Lines); err != nil {
			return err
		}
		// What this left behind is not the pipeline's to clear away.
		runtime.GC()
		debug.FreeOSMemory()
		return forgetPeak()
	case doEnrich:
		if err := startProfile(f.setup.Profile); err != nil {
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
	case doQuiet:
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
	case doAllow:
		f.feeder.allow(o.Records)
		return nil
	case doStarve:
		return f.feeder.stop()
	}
	return errors.New("it is not known how")
}

func (f *flowing) fill(ctx context.Context, sessions, lines int) error {
	filled, err := fill(ctx, f.bus, f.key, f.setup.Seed+uint64(f.state.Sessions), sessions, lines, false)
	if err != nil {
		return err
	}
	f.state.Sessions += filled.Sessions
	f.state.Lines += filled.Lines
	f.state.Records += filled.records()
	return nil
}

// The batches are those of a configuration that says nothing of them.
const (
	batchRecords = 5000
	batchBytes   = 4 << 20
)

func (f *flowing) route(ctx context.Context, drains []namedDrain) error {
	var all []pipeline.Drain
	for _, d := range drains {
		all = append(all, d.routed(d.Name))
	}
	router, err := pipeline.NewRouter(pipeline.RouterOptions{Bus: f.bus, Metrics: f.metrics, Log: f.log, Drains: all})
	if err != nil {
		return err
	}
	f.operator = &pipeline.Operator{Bus: f.bus, Drains: all}
	f.work.Go(func() error { return router.Run(ctx) })
	return nil
}

// write writes all that is on LOGS as a drain's worker does, with nothing around it: it is read and
// decoded beforehand.
func (f *flowing) write(ctx context.Context, d namedDrain) error {
	var batches [][]sinks.Entry
	var decoder schema.Decoder
	size := batchBytes
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
			if k := len(batches) - 1; k < 0 || size >= batchBytes || len(batches[k]) >= batchRecords {
				batches, size = append(batches, nil), 0
			}
			k := len(batches) - 1
			for i := range segment.Records {
				batches[k] = append(batches[k], sinks.Entry{Operation: segment.Operation, Record: &segment.Records[i]})
			}
			after, size = m.Sequence, size+len(m.Data)
		}
	}
	sink, err := d.open()
	if err != nil {
		return err
	}
	defer sink.Close()
	runtime.GC()
	before := processorTime()
	for _, batch := range batches {
		if err := sink.Write(ctx, batch); err != nil {
			return fmt.Errorf("write a batch: %w", err)
		}
	}
	f.state.Written = processorTime() - before
	return nil
}

// look says how the process stands.
func (f *flowing) look() (err error) {
	if f.state.Memory, err = memoryOf(os.Getpid()); err != nil {
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
	f.state.Processor = processorTime()
	return nil
}

// quantile is the bound of the bucket in which a quantile is.
func quantile(h *dto.Histogram, share float64) float64 {
	for _, b := range h.GetBucket() {
		if float64(b.GetCumulativeCount()) >= share*float64(h.GetSampleCount()) {
			return b.GetUpperBound()
		}
	}
	return 0
}

// memoryOf is the memory of a process (proc_pid_status(5)).
func memoryOf(pid int) (m memory, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return m, err
	}
	for name, into := range map[string]*int64{"VmRSS:": &m.Resident, "VmHWM:": &m.Peak} {
		kib, _, ok := between(data, "\n"+name, 'k')
		n, isNumber := digits(bytes.TrimSpace(kib))
		if !ok || !isNumber {
			return m, fmt.Errorf("/proc/%d/status has no %s", pid, name)
		}
		*into = int64(n) << 10
	}
	return m, nil
}

// forgetPeak makes the peak of this process's memory what it has now (proc_pid_clear_refs(5)).
func forgetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// A feeder holds sessions back that are published set after set, so that a bounded number of
// records is under way.
type feeder struct {
	done errgroup.Group

	mu        sync.Mutex
	changed   sync.Cond // of mu
	delivered int       // guarded by mu
	over      bool      // guarded by mu
}

func newFeeder() *feeder {
	f := new(feeder)
	f.changed.L = &f.mu
	return f
}

func (f *feeder) allow(delivered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivered = delivered
	f.changed.Broadcast()
}

func (f *feeder) stop() error {
	f.mu.Lock()
	f.over = true
	f.changed.Broadcast()
	f.mu.Unlock()
	return f.done.Wait()
}

// wait waits until no more than so many records are under way; it is false when that is over.
func (f *feeder) wait(published, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for published-f.delivered > most && !f.over {
		f.changed.Wait()
	}
	return !f.over
}

// feedAhead is how many sets of sessions may be under way.
const feedAhead = 4

// feed publishes sets of sessions of so many lines together, until the feeder is stopped.
func (f *flowing) feed(ctx context.Context, sessions, lines int) error {
	published := filling{}
	for f.feeder.wait(published.records(), feedAhead*lines) {
		one, err := fill(ctx, f.bus, f.key, f.setup.Seed+uint64(published.Sessions), sessions, lines, false)
		if err != nil {
			return err
		}
		published.Sessions += one.Sessions
		published.Lines += one.Lines
		published.Records += one.Records
	}
	f.state.Sessions += published.Sessions
	f.state.Lines += published.Lines
	f.state.Records += published.records()
	return nil
}
