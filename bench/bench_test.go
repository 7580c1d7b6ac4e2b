package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	// With the race detector, each of the children would sleep a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	os.Exit(m.Run())
}

// need skips or fails a test that needs an outside program.
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

// needSyslogServers skips a test without the servers that are compared with.
func needSyslogServers(t *testing.T) {
	t.Helper()
	if os.Getenv("SYSLOG_NG_ROOT") == "" {
		need(t, "syslog-ng")
	}
	need(t, "/usr/sbin/rsyslogd")
}

func smallSettings(t *testing.T) *settings {
	return &settings{seed: 7, records: 3000, sessions: 3, runs: 2, echoes: 20, catBytes: 1 << 20, profiles: t.TempDir(), progress: t.Logf}
}

// TestDrains runs the harness with small numbers, where ttydrain has no peers. That every record
// arrived is checked by the run itself, which fails where one did not.
func TestDrains(t *testing.T) {
	t.Parallel() // nothing is compared, and each waits for others' starts
	s := smallSettings(t)
	results, err := benchmark(t.Context(), s, []string{"https/array", "keystrokes", "limit/jetstream"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(s, results)
	checkRows(t, r, []string{"limit/jetstream/lines", "limit/jetstream/segments"}, recordsMeasured, recordsPerSecond, peakMemory)
	checkRows(t, r, []string{"https/array", "keystrokes/https/ndjson"}, recordsMeasured, recordsPerSecond, secondsPerMillion, receiverPerMillion, peakMemory)
	for _, file := range []string{"https-array-1.pprof", "keystrokes-https-ndjson-2.pprof"} {
		if info, err := os.Stat(s.profiles + "/" + file); err != nil || info.Size() == 0 {
			t.Errorf("no profile %s: %v", file, err)
		}
	}
}

// TestComparisons does so with limits and peers. Every peer that delivers something twice, or not
// at all, has no figure.
func TestComparisons(t *testing.T) {
	t.Parallel() // nothing is compared, and each waits for others' starts
	needSyslogServers(t)
	s := smallSettings(t)
	s.runs = 1
	results, err := benchmark(t.Context(), s, []string{"compare/https/ndjson", "compare/https/json", "compare/syslog"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(s, results)
	for _, protocol := range []string{"https/ndjson", "https/json", "syslog"} {
		measured := []string{"limit/" + protocol, protocol, "syslog-ng/" + protocol}
		if protocol == "syslog" {
			measured = append(measured, "rsyslog/syslog")
		}
		checkRows(t, r, measured, recordsMeasured, recordsPerSecond, peakMemory)
		for _, judged := range r.Compared[protocol].Bars {
			// Processor time is in hundredths of a second, of which a small run may take none.
			if judged.Unknown != "" && !strings.Contains(judged.Bar, "processor") {
				t.Errorf("%s: %s", protocol, judged)
			}
		}
	}
	if table := r.markdown(); !strings.Contains(table, "| Redpanda Connect | not measured: ") || !strings.Contains(table, "\n- bar: records/s ≥ 2 × the fastest peer: ") {
		t.Errorf("the table does not name what is missing, or no bar:\n%s", table)
	}
}

func TestElasticsearch(t *testing.T) {
	t.Parallel() // nothing is compared, and each waits for others' starts
	need(t, "bash", "java", "javac", "jar", "mvn", "unzip", "flock")
	needSyslogServers(t)
	s := smallSettings(t)
	s.runs = 1
	results, err := benchmark(t.Context(), s, []string{"compare/elasticsearch"})
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, newReport(s, results), []string{"limit/elasticsearch", "elasticsearch", "rsyslog/elasticsearch", "syslog-ng/elasticsearch"}, recordsMeasured, recordsPerSecond)
}

func TestSSH(t *testing.T) {
	t.Parallel() // nothing is compared, and each waits for others' starts
	need(t, "/usr/sbin/sshd", "stty", "tlog-rec", "script")
	s := smallSettings(t)
	s.runs = 1
	results, err := benchmark(t.Context(), s, []string{"ssh"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(s, results)
	checkRows(t, r, []string{"ssh/openssh", "ssh/openssh+tlog", "ssh/openssh+script", "ssh/ttydrain", "ssh/ttydrain+drain"}, echoP50, echoP99, catRate)
	for _, metric := range []string{echoP50, catRate} {
		if r.Ratios["ssh/ttydrain"][metric] <= 0 {
			t.Errorf("no ratio to OpenSSH of %s", metric)
		}
	}
}

// checkRows checks that each subject was measured in every run, and has a row in a table.
func checkRows(t *testing.T, r *report, subjects []string, metrics ...string) {
	t.Helper()
	table := r.markdown()
	for _, subject := range subjects {
		one := r.result(subject)
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
		title := titles[subject]
		for _, c := range comparisons {
			if slices.Contains(c.subjects(), subject) {
				title = c.titleOf(subject)
			}
		}
		if title == "" || !strings.Contains(table, "\n| "+title+" | ") {
			t.Errorf("the tables have no row of %s:\n%s", subject, table)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestTerminalIsTheSameForASeed(t *testing.T) {
	output := func(seed uint64) (b []byte, last time.Time) {
		terminal := newTerminal(seed)
		var frames []schema.Frame
		for range 200 {
			frames = terminal.show(frames)
		}
		at := int64(0)
		for _, f := range frames {
			if f.Time < at {
				t.Fatalf("seed %d: the time goes back", seed)
			}
			at = f.Time
			b = append(b, f.Payload...)
		}
		return b, terminal.at
	}
	first, last := output(1)
	if again, at := output(1); !bytes.Equal(first, again) || !at.Equal(last) {
		t.Error("the same seed gave something else")
	}
	if other, _ := output(2); bytes.Equal(first, other) {
		t.Error("another seed gave the same")
	}
	// All recordings come before one comes again, and the first of them from somewhere on.
	for _, r := range allRecordings() {
		if !bytes.Contains(first, r.events[len(r.events)-1].shown) {
			t.Errorf("%s is not played", r.name)
		}
	}
}

// TestRecordings holds what the recordings have to be: whole, varied, and of nobody.
func TestRecordings(t *testing.T) {
	if len(allRecordings()) != len(recordings) {
		t.Errorf("there are %d recordings of %d", len(allRecordings()), len(recordings))
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range allRecordings() {
		var all []byte
		for _, e := range r.events {
			all = append(all, e.shown...)
		}
		if !bytes.Contains(all, []byte("ada@web-1")) {
			t.Errorf("%s has no prompt", r.name)
		}
		for _, foreign := range []string{"@" + hostname, "/root", "/var/lib/ttydrain", "/home/"} {
			if foreign != "@web-1" && bytes.Contains(all, []byte(foreign)) {
				t.Errorf("%s shows %q, which is of the machine where it was made", r.name, foreign)
			}
		}
	}
	for _, r := range lineRecordings() {
		var all []byte
		for _, e := range r.events {
			all = append(all, e.shown...)
		}
		for line := range bytes.Lines(all) {
			if len(line) > enrich.MaxLine {
				t.Errorf("%s has a line of %d bytes, which becomes more than one record", r.name, len(line))
			}
		}
	}
	s := statistics()
	if s.Bytes < 500_000 || s.BytesPerLine < 70 || s.BytesPerLine > 130 || s.Escapes < 0.05 || s.Escapes > 0.3 {
		t.Errorf("the corpus is not what it was: %s", s)
	}
}

func TestReplaceTables(t *testing.T) {
	const text = "before\n" + beginMarker + "\nold\n" + endMarker + "\nafter\n"
	got, ok := replaceTables([]byte(text), "new\n")
	if want := "before\n" + beginMarker + "\nnew\n" + endMarker + "\nafter\n"; !ok || string(got) != want {
		t.Errorf("%v: %q", ok, got)
	}
	for _, text := range []string{"", beginMarker + "\n", endMarker + "\n" + beginMarker + "\n"} {
		if got, ok := replaceTables([]byte(text), "new\n"); ok {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		want float64
		ok   bool
	}{{nil, 0, false}, {[]float64{3}, 3, true}, {[]float64{9, 1, 2}, 2, true}, {[]float64{4, 1, 3, 2}, 2.5, true}} {
		if got, ok := median(c.all); got != c.want || ok != c.ok {
			t.Errorf("median of %v is %v, %v", c.all, got, ok)
		}
	}
}
