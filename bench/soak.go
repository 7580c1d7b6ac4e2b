package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/crypto/ssh"
	"gonum.org/v1/gonum/stat"
)

// Metrics of a soak.
const (
	soakTime     = "soak_seconds"
	soakRate     = "soak_records_per_second"
	soakCPU      = "router_processor_seconds_per_million_records"
	soakResident = "router_peak_megabytes"
	soakMean     = "router_mean_megabytes_of_the_second_half"
	soakHeap     = "router_heap_peak_megabytes"
	soakSlope    = "router_slope_kilobytes_per_minute"
)

const (
	// soakPartitions is what a cluster has that `ttydrain serve` makes.
	soakPartitions = 8
	// soakRetention lets go of what was delivered long ago: the disk is not what is measured. Nothing
	// waits for so long.
	soakRetention = 3 * time.Minute
	// soakPatience is how long it may take to begin, and how long a moment without a delivery.
	soakPatience = time.Minute
	// soakSessions and soakLines are a set of sessions. When it is published, the next one comes.
	soakSessions, soakLines = 64, 100_000
)

// soak is the memory of `ttydrain serve --role router`, a process of its own as in a cluster, at
// full load.
type soak struct {
	scenario
	resident curve // in megabytes, by seconds
	heap     curve
}

func (d *soak) name() string { return "soak" }

func (d *soak) run(ctx context.Context) (sample, error) {
	s := d.settings
	sc, err := startScene(ctx, s, flowSetup{Listen: soakPartitions, Retention: soakRetention, Profile: s.profile(d.name(), d.runs)}, witnessSetup{Protocol: "https"})
	if err != nil {
		return nil, err
	}
	defer sc.end()
	d.runs++
	router, err := startRouter(ctx, s, sc)
	if err != nil {
		return nil, err
	}
	defer router.stop()
	if _, err := sc.tellAll(flowOrder{Do: doEnrich}, flowOrder{Do: doFeed, Sessions: soakSessions, Lines: min(soakLines, s.growthLines)}); err != nil {
		return nil, err
	}
	d.resident, d.heap = nil, nil
	began := time.Now()
	var first, last routerState
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	patience := time.After(s.soak + soakPatience)
	for first.delivered == 0 || last.delivered == first.delivered || time.Since(began) < s.soak {
		select {
		case <-tick.C:
		case <-patience:
			return nil, fmt.Errorf("the router delivers nothing; its output:\n%s", router.output())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if last, err = router.look(); err != nil {
			return nil, err
		}
		if first.delivered == 0 { // it starts, and the time has not begun
			first, began = last, time.Now()
		}
		at := time.Since(began).Seconds()
		d.resident, d.heap = append(d.resident, [2]float64{at, last.resident / megabyte}), append(d.heap, [2]float64{at, last.heap / megabyte})
		if _, err := sc.tell(flowOrder{Do: doAllow, Records: int(last.delivered)}); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	end, err := sc.tell(flowOrder{Do: doStarve})
	if err != nil {
		return nil, err
	}
	got, err := sc.witness.asks(witnessQuestion{Drains: 1, Sessions: end.Sessions})
	if err != nil {
		return nil, err
	}
	if err := got.Drains["drain"].exact(end.Records, end.Sessions, false); err != nil {
		return nil, fmt.Errorf("%w; the router's output:\n%s", err, router.output())
	}
	delivered := last.delivered - first.delivered
	half := d.resident[len(d.resident)/2:]
	x, y := half.axes()
	_, slope := stat.LinearRegression(x, y, nil, false)
	return sample{
		soakTime: took.Seconds(), soakRate: delivered / took.Seconds(), soakCPU: (last.processor - first.processor) / delivered * 1e6,
		soakResident: d.resident.highest(), soakMean: stat.Mean(y, nil), soakHeap: d.heap.highest(), soakSlope: slope * 60 * 1000,
	}, nil
}

func (d *soak) curves() map[string]curve {
	return map[string]curve{"resident": d.resident, "heap": d.heap}
}

// axes are the coordinates of the points.
func (c curve) axes() (x, y []float64) {
	for _, p := range c {
		x, y = append(x, p[0]), append(y, p[1])
	}
	return x, y
}

func (c curve) highest() (y float64) {
	for _, p := range c {
		y = max(y, p[1])
	}
	return y
}

// A router is `ttydrain serve --role router`.
type router struct {
	*server
	admin string
}

func startRouter(ctx context.Context, s *settings, sc *scene) (*router, error) {
	binary, err := s.binary(ctx)
	if err != nil {
		return nil, err
	}
	r := new(router)
	if r.admin, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, "router-")
	if err != nil {
		return nil, err
	}
	key, err := newKey(filepath.Join(dir, "ada"))
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
`, sc.URL, soakRetention, r.admin, rand.Text(), strconv.Quote(string(ssh.MarshalAuthorizedKey(key.PublicKey()))), sc.witness.Address, sc.witness.CAFile)
	config := filepath.Join(dir, "ttydrain.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if r.server, err = startServer(ctx, filepath.Join(dir, "log"), binary, "serve", "-c", config, "--role", "router"); err != nil {
		return nil, err
	}
	if err := r.await(ctx, func() error { return isReady("http://" + r.admin + "/readyz") }); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// routerState is what a router's metrics tell.
type routerState struct{ resident, heap, processor, delivered float64 }

func (r *router) look() (s routerState, err error) {
	answer, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		return s, fmt.Errorf("%w; the router's output:\n%s", err, r.output())
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

// value of a counter or a gauge.
func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }
