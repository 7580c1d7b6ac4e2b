package growth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/crypto/ssh"
	"gonum.org/v1/gonum/stat"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

const (
	// soakPartitions is the number of partitions that `ttydrain serve` creates in a cluster.
	soakPartitions = 8
	// soakRetention is short, because the disk is not measured. No record waits that long.
	soakRetention = 3 * time.Minute
	// soakPatience is the time within which deliveries must start, and continue after a pause.
	soakPatience = time.Minute
	// soakSessions and soakLines are the size of one set of sessions.
	soakSessions, soakLines = 64, 100_000
)

// soak measures the memory of `ttydrain serve --role router` at full load, in a process of its own
// as in a cluster.
type soak struct {
	scenario
	resident measure.Curve // in megabytes, by seconds
	heap     measure.Curve
}

func (d *soak) Name() string { return "soak" }

func (d *soak) Run(ctx context.Context) (measure.Sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Listen: soakPartitions, Retention: soakRetention, Profile: s.Profile(d.Name(), d.runs)}, receivers.WitnessSetup{Protocol: "https"})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	router, err := startRouter(ctx, s, sc)
	if err != nil {
		return nil, err
	}
	defer router.Stop()
	if _, err := sc.doAll(flowOrder{Do: doEnrich}, flowOrder{Do: doFeed, Sessions: soakSessions, Lines: min(soakLines, s.GrowthLines)}); err != nil {
		return nil, err
	}
	d.resident, d.heap = nil, nil
	began := time.Now()
	var first, last routerState
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	patience := time.After(s.Soak + soakPatience)
	for first.delivered == 0 || last.delivered == first.delivered || time.Since(began) < s.Soak {
		select {
		case <-tick.C:
		case <-patience:
			return nil, fmt.Errorf("the router delivers no records; its output:\n%s", router.Output())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if last, err = router.look(); err != nil {
			return nil, err
		}
		if first.delivered == 0 { // still starting: the clock is not running
			first, began = last, time.Now()
		}
		at := time.Since(began).Seconds()
		d.resident, d.heap = append(d.resident, [2]float64{at, last.resident / measure.Megabyte}), append(d.heap, [2]float64{at, last.heap / measure.Megabyte})
		if _, err := sc.do(flowOrder{Do: doDelivered, Records: int(last.delivered)}); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	end, err := sc.do(flowOrder{Do: doStopFeed})
	if err != nil {
		return nil, err
	}
	got, err := sc.witness.Query(receivers.WitnessQuestion{Drains: 1, Sessions: end.Sessions})
	if err != nil {
		return nil, err
	}
	if err := got.Drains["drain"].Verify(end.Records, end.Sessions, false); err != nil {
		return nil, fmt.Errorf("%w; the router's output:\n%s", err, router.Output())
	}
	delivered := last.delivered - first.delivered
	half := d.resident[len(d.resident)/2:]
	x, y := half.Axes()
	_, slope := stat.LinearRegression(x, y, nil, false)
	return measure.Sample{
		measure.SoakTime: took.Seconds(), measure.SoakRate: delivered / took.Seconds(), measure.SoakCPU: (last.processor - first.processor) / delivered * 1e6,
		measure.SoakResident: d.resident.Highest(), measure.SoakMean: stat.Mean(y, nil), measure.SoakHeap: d.heap.Highest(), measure.SoakSlope: slope * 60 * 1000,
	}, nil
}

func (d *soak) Curves() map[string]measure.Curve {
	return map[string]measure.Curve{"resident": d.resident, "heap": d.heap}
}

// A routerProcess is `ttydrain serve --role router`.
type routerProcess struct {
	*process.Server
	admin string
}

func startRouter(ctx context.Context, s *measure.Settings, sc *scene) (*routerProcess, error) {
	binary, err := s.Binary(ctx)
	if err != nil {
		return nil, err
	}
	r := new(routerProcess)
	if r.admin, err = process.FreeAddress(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.Dir, "router-")
	if err != nil {
		return nil, err
	}
	user, _, err := ed25519.GenerateKey(nil) // no user logs in with it
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(user)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`nats: {url: '%s', replicas: 1}
streams: {retention: %s}
gateway: {listen: '127.0.0.1:2222', host_key: ./host_key, max_startups: 1000, max_connections_per_user: 100000, max_sessions_per_user: 100000}
admin: {listen: '%s', token: '%s'}
user_document: {issuer: 'https://auth.example.com', signing_key: ./document_key.pem}
users:
  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [%s], apps: [web]}
stacks:
  - {name: default, plan: growth, session_duration: 1m}
apps:
  - {name: web, stack: default, runtime: sandbox, command: [/bin/sh]}
drains:
  - {name: drain, type: https, format: ndjson, url: 'https://%s/drain', ca_file: '%s'}
`, sc.URL, soakRetention, r.admin, rand.Text(), strconv.Quote(string(ssh.MarshalAuthorizedKey(key))), sc.witness.Address, sc.witness.CAFile)
	r.Server, err = process.StartTTYDrain(ctx, binary, dir, r.admin, text, "--role", "router")
	return r, err
}

// routerState has values of a router's metrics.
type routerState struct{ resident, heap, processor, delivered float64 }

func (r *routerProcess) look() (s routerState, err error) {
	answer, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		return s, fmt.Errorf("%w; the router's output:\n%s", err, r.Output())
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		return s, fmt.Errorf("read the router's metrics: %w", err)
	}
	io.Copy(io.Discard, answer.Body)
	for name, into := range map[string]*float64{
		"process_resident_memory_bytes": &s.resident, "go_memstats_heap_inuse_bytes": &s.heap, "process_cpu_seconds_total": &s.processor,
		"ttydrain_drain_records_delivered_total": &s.delivered,
	} {
		f := families[name]
		if f == nil {
			return s, fmt.Errorf("the router has no metric %s", name)
		}
		for _, m := range f.GetMetric() {
			*into += value(m)
		}
	}
	return s, nil
}

// value returns the value of a counter or a gauge.
func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }
