package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/tracing/tracingtest"
)

// families returns the metrics of the server, by name.
func (v *server) families() map[string]*dto.MetricFamily {
	v.site.t.Helper()
	_, body := v.get("/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		v.site.t.Fatal(err)
	}
	return families
}

// describe returns a metric as in the table of metrics-reference.md: name, type, and labels.
func describe(f *dto.MetricFamily) string {
	var labels []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(labels, "`"+l.GetName()+"`") {
				labels = append(labels, "`"+l.GetName()+"`")
			}
		}
	}
	slices.Sort(labels)
	return fmt.Sprintf("| `%s` | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "))
}

// metricNames are the names of the metrics, of which a histogram has three kinds of series.
var metricNames = regexp.MustCompile(`\bttydrain_[a-z0-9_]+`)

// TestMetrics: metrics-reference.md, the alerts and the dashboards agree with the metrics of a
// server after a session, the numbers are those of the session, and Prometheus accepts them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	drain := httpsDrain(t, "siem", ", format: ndjson")
	collector := tracingtest.New(t, "X-Key", "hunter")
	s := newSite(t, withSettings("log: {level: debug}\ntracing: {endpoint: "+collector.URL+", sample_ratio: 1, headers: {X-Key: hunter}}"), withDrains(drain.entry, `{name: idle, type: https, url: "https://127.0.0.1:1/", drain_ephemeral_sessions: true}`))
	v := s.serve()
	session, stderr := v.openSession()
	shown, err := session.Output("echo seen; echo by-a-person; exit 3")
	if err == nil {
		t.Error("the session ended without its status")
	}
	operation := operationOf(t, stderr.Bytes())
	records := drain.transcript(t, operation).records
	await(t, "for the metrics of the last batch", func() bool { return v.delivered("siem") >= len(records) })

	families := v.families()
	for series, want := range map[string]float64{
		`ttydrain_sessions_started_total`:                            1,
		`ttydrain_sessions_running`:                                  0,
		`ttydrain_sessions_ended_total{reason="exit"}`:               1,
		`ttydrain_sessions_ended_total{reason="killed"}`:             0,
		`ttydrain_sessions_refused_total{reason="limit"}`:            0,
		`ttydrain_ssh_connections{state="starting"}`:                 0,
		`ttydrain_ssh_connections_refused_total{reason="penalty"}`:   0,
		`ttydrain_session_bytes_total`:                               float64(len(shown) + stderr.Len()),
		`ttydrain_drain_records_received_total{drain="siem"}`:        float64(len(records)),
		`ttydrain_drain_records_delivered_total{drain="siem"}`:       float64(len(records)),
		`ttydrain_drain_records_delivered_total{drain="idle"}`:       0,
		`ttydrain_drain_latency_seconds_count{drain="idle"}`:         0,
		`ttydrain_drain_partitions{drain="siem",state="gone"}`:       0,
		`ttydrain_drain_partitions{drain="siem",state="delivering"}`: 1,
		`ttydrain_drain_batch_records_sum{drain="siem"}`:             float64(len(records)),
		`ttydrain_drain_records_dead_lettered_total{drain="idle"}`:   0,
		`ttydrain_enricher_partitions`:                               1,
		`ttydrain_partitions`:                                        1,
		`ttydrain_nats_connected`:                                    1,
		`ttydrain_stream_retention_seconds`:                          14 * 24 * 3600,
		`ttydrain_config_last_reload_successful`:                     1,
		`ttydrain_session_ends_unrecorded`:                           0,
		`ttydrain_drain_lag_records{drain="siem",partition="0"}`:     0,
		`ttydrain_config_reloads_total{result="refused"}`:            0,
	} {
		await(t, fmt.Sprintf("for %s to be %g: it is %g", series, want, v.metric(series)), func() bool { return v.metric(series) == want })
	}
	threads := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" {
		threads += bus.Writers
	}
	if got, want := v.metric(`go_sched_gomaxprocs_threads`), float64(threads); got != want {
		t.Errorf("%g goroutines run at a time, expected %g", got, want)
	}
	// Each stage has been measured, and the whole takes no less than its last stage.
	for _, name := range []string{"ttydrain_capture_duration_seconds", "ttydrain_enrich_duration_seconds", "ttydrain_drain_route_duration_seconds",
		"ttydrain_drain_write_duration_seconds", "ttydrain_drain_latency_seconds", "ttydrain_drain_batch_bytes"} {
		measured := slices.ContainsFunc(families[name].GetMetric(), func(m *dto.Metric) bool {
			h := m.GetHistogram()
			return h.GetSampleCount() > 0 && h.GetSampleSum() > 0
		})
		if !measured {
			t.Errorf("%s has measured nothing", name)
		}
	}
	if all, last := v.metric(`ttydrain_drain_latency_seconds_sum{drain="siem"}`), v.metric(`ttydrain_drain_route_duration_seconds_sum{drain="siem"}`); all < last {
		t.Errorf("from the terminal on it took %g s, and from LOGS on %g s", all, last)
	}

	var told []string
	for name, f := range families {
		if strings.HasPrefix(name, "ttydrain_") {
			told = append(told, describe(f))
		}
	}
	slices.Sort(told)
	if written := documentedMetrics(t); !slices.Equal(told, written) {
		for _, line := range told {
			if !slices.Contains(written, line) {
				t.Errorf("metrics-reference.md does not have\n%s", line)
			}
		}
		for _, line := range written {
			if !slices.Contains(told, line) {
				t.Errorf("metrics-reference.md has, and the server does not,\n%s", line)
			}
		}
	}
	checkUses(t, families)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if status, body := v.get(path); status != 200 || string(body) != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}

	_, body := v.get("/metrics")
	check := exec.Command(need(t, "promtool"), "check", "metrics")
	check.Stdin = bytes.NewReader(body)
	if r := runTo(t, check); r.status != 0 || r.stderr+r.stdout != "" {
		t.Errorf("promtool check metrics: %d\n%s%s", r.status, r.stdout, r.stderr)
	}

	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	mustHaveTraced(t, collector, operation, len(records))
	for _, secret := range []string{"by-a-person", "exit 3", "ada@example.com", "Bearer", "hunter"} {
		if collector.Find(secret) {
			t.Errorf("the collector was told %q", secret)
		}
		if secret != "exit 3" && strings.Contains(v.log.String(), secret) {
			t.Errorf("the log at the level debug has %q", secret)
		}
	}
}

// mustHaveTraced checks that every record is in the traces, from the terminal to the
// acknowledgement of the drain.
func mustHaveTraced(t *testing.T, c *tracingtest.Collector, operation string, records int) {
	t.Helper()
	byID := make(map[string]tracingtest.Span)
	for _, name := range []string{"capture", "enrich", "drain", "try"} {
		for _, s := range c.Named(name) {
			byID[s.ID] = s
		}
	}
	enriched := 0
	for _, s := range c.Named("enrich") {
		n, err := strconv.Atoi(s.Attributes["ttydrain.records"])
		if enriched += n; err != nil || byID[s.Parent].Name != "capture" || s.Attributes["ttydrain.operation"] != operation || s.Attributes["ttydrain.result"] != "ok" {
			t.Errorf("a segment's span: %+v", s)
		}
	}
	if enriched != records {
		t.Errorf("%d records are in the traces, and %d were delivered", enriched, records)
	}
	delivered := 0
	for _, s := range c.Named("drain") {
		if s.Attributes["ttydrain.drain"] != "siem" { // the traces of the other one end earlier when the traces end
			continue
		}
		n, err := strconv.Atoi(s.Attributes["ttydrain.records"])
		if delivered += n; err != nil || byID[s.Parent].Name != "enrich" || s.Trace != byID[s.Parent].Trace || s.Attributes["ttydrain.result"] != "ok" {
			t.Errorf("a batch's span: %+v", s)
		}
	}
	if delivered != records {
		t.Errorf("batches of %d records are in the traces, and %d were delivered", delivered, records)
	}
	for _, part := range []string{"encode", "write", "ack"} {
		if !slices.ContainsFunc(c.Named(part), func(s tracingtest.Span) bool {
			try := byID[s.Parent]
			return try.Name == "try" && byID[try.Parent].Attributes["ttydrain.drain"] == "siem"
		}) {
			t.Errorf("no span tells of %s", part)
		}
	}
}

// documentedMetrics returns the lines of the table in metrics-reference.md, sorted, without the
// units and the descriptions.
func documentedMetrics(t *testing.T) (lines []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if cells := strings.SplitN(line, "|", 5); len(cells) == 5 && strings.HasPrefix(line, "| `") {
			lines = append(lines, strings.Join(cells[:4], "|")+"|")
		}
	}
	slices.Sort(lines)
	return lines
}

// checkUses checks that every metric exists that the alerts, the dashboards and the documentation
// name.
func checkUses(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no pages: %v", err)
	}
	files = append(files, "../../../README.md", "../../../pipeline/admin/alerts.yml")
	err = filepath.WalkDir("../../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules") {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".json") && strings.Contains(path, "grafana") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := 0
		for _, name := range metricNames.FindAllString(string(data), -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if f := families[strings.TrimSuffix(name, suffix)]; f.GetType() == dto.MetricType_HISTOGRAM {
					base = strings.TrimSuffix(name, suffix)
				}
			}
			used++
			if families[base] == nil {
				t.Errorf("%s uses %s, which is no metric", file, name)
			}
		}
		if used == 0 && strings.HasSuffix(file, "alerts.yml") {
			t.Errorf("%s uses no metric", file)
		}
	}
}
