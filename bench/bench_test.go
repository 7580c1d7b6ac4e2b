package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/report"
)

func TestMain(m *testing.M) {
	if process.Main(roles()) {
		return
	}
	// Do not sleep for a second at the end of each child, as the race detector does by default.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	os.Exit(m.Run())
}

// need skips or fails a test if a program is not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatalf("%s is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", program)
		}
		t.Skipf("SKIPPED, NOT TESTED: %s is not installed", program)
	}
}

// needSyslogServers skips or fails a test if a compared syslog server is not installed.
func needSyslogServers(t *testing.T) {
	t.Helper()
	if os.Getenv("SYSLOG_NG_ROOT") == "" {
		need(t, "syslog-ng")
	}
	need(t, "/usr/sbin/rsyslogd")
}

func smallSettings(t *testing.T) *measure.Settings {
	return &measure.Settings{Seed: 7, Records: 3000, Sessions: 3, Runs: 2, Echoes: 20, CatBytes: 1 << 20, Profiles: t.TempDir(), Progress: t.Logf}
}

// TestDrains measures the drains without peers with small numbers. A run fails unless every record
// has arrived.
func TestDrains(t *testing.T) {
	t.Parallel() // no figures are compared, and each test mostly waits for processes to start
	s := smallSettings(t)
	results, err := benchmark(t.Context(), s, []string{"https/array", "keystrokes", "limit/jetstream"})
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(s, results)
	checkRows(t, r, []string{"limit/jetstream/lines", "limit/jetstream/segments"}, measure.RecordsMeasured, measure.RecordsPerSecond, measure.PeakMemory)
	checkRows(t, r, []string{"https/array", "keystrokes/https/ndjson"}, measure.RecordsMeasured, measure.RecordsPerSecond, measure.SecondsPerMillion, measure.ReceiverPerMillion, measure.PeakMemory)
	for _, file := range []string{"https-array-1.pprof", "keystrokes-https-ndjson-2.pprof"} {
		if info, err := os.Stat(s.Profiles + "/" + file); err != nil || info.Size() == 0 {
			t.Errorf("no profile %s: %v", file, err)
		}
	}
}

// TestComparisons measures limits and peers. A peer that does not deliver each record once has no
// figure.
func TestComparisons(t *testing.T) {
	t.Parallel() // no figures are compared, and each test mostly waits for processes to start
	needSyslogServers(t)
	s := smallSettings(t)
	s.Runs = 1
	results, err := benchmark(t.Context(), s, []string{"compare/https/ndjson", "compare/https/json", "compare/syslog"})
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(s, results)
	for _, protocol := range []string{"https/ndjson", "https/json", "syslog"} {
		measured := []string{"limit/" + protocol, protocol, "syslog-ng/" + protocol}
		if protocol == "syslog" {
			measured = append(measured, "rsyslog/syslog")
		}
		checkRows(t, r, measured, measure.RecordsMeasured, measure.RecordsPerSecond, measure.PeakMemory)
		for _, judged := range r.Compared[protocol].Bars {
			// CPU time is in hundredths of a second, and may be 0 in a small run.
			if judged.Unknown != "" && !strings.Contains(judged.Bar, "processor") {
				t.Errorf("%s: %s", protocol, judged)
			}
		}
	}
	if table := r.Markdown(); !strings.Contains(table, "| Redpanda Connect | not measured: ") || !strings.Contains(table, "\n- bar: records/s ≥ 2 × the fastest peer: ") {
		t.Errorf("the table does not name what is missing, or no bar:\n%s", table)
	}
}

func TestElasticsearch(t *testing.T) {
	t.Parallel() // no figures are compared, and each test mostly waits for processes to start
	need(t, "bash", "java", "javac", "jar", "mvn", "unzip", "flock")
	needSyslogServers(t)
	s := smallSettings(t)
	s.Runs = 1
	results, err := benchmark(t.Context(), s, []string{"compare/elasticsearch"})
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, report.New(s, results), []string{"limit/elasticsearch", "elasticsearch", "rsyslog/elasticsearch", "syslog-ng/elasticsearch"}, measure.RecordsMeasured, measure.RecordsPerSecond)
}

func TestSSH(t *testing.T) {
	t.Parallel() // no figures are compared, and each test mostly waits for processes to start
	need(t, "/usr/sbin/sshd", "stty", "tlog-rec", "script")
	s := smallSettings(t)
	s.Runs = 1
	results, err := benchmark(t.Context(), s, []string{"ssh"})
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(s, results)
	checkRows(t, r, []string{"ssh/openssh", "ssh/openssh+tlog", "ssh/openssh+script", "ssh/ttydrain", "ssh/ttydrain+drain"}, measure.EchoP50, measure.EchoP99, measure.CatRate)
	for _, metric := range []string{measure.EchoP50, measure.CatRate} {
		if r.Ratios["ssh/ttydrain"][metric] <= 0 {
			t.Errorf("no ratio to OpenSSH of %s", metric)
		}
	}
}

// checkRows checks that each subject has a sample for every run, and a row in a table.
func checkRows(t *testing.T, r *report.Report, subjects []string, metrics ...string) {
	t.Helper()
	table := r.Markdown()
	for _, subject := range subjects {
		one := r.Result(subject)
		if len(one.Samples) != r.Settings["runs"] {
			t.Errorf("%s: %d runs (%s)", subject, len(one.Samples), one.Missing)
		}
		for i, sample := range one.Samples {
			for _, metric := range metrics {
				if sample[metric] <= 0 {
					t.Errorf("%s, run %d: no %s: %v", subject, i, metric, sample)
				}
			}
		}
		title := report.TitleOf(subject)
		if !strings.Contains(table, "\n| "+title+" | ") {
			t.Errorf("the tables have no row of %s:\n%s", subject, table)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}
