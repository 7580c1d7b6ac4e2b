package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

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

func smallSettings(t *testing.T) *settings {
	return &settings{seed: 7, lines: 3000, sessions: 3, runs: 2, echoes: 20, catBytes: 1 << 20, profiles: t.TempDir(), progress: t.Logf}
}

// TestDrains runs the harness with small numbers. That every record arrived is checked by the run itself, which
// fails where one did not.
func TestDrains(t *testing.T) {
	s := smallSettings(t)
	results, err := benchmark(t.Context(), s, []string{"https", "syslog", "keystrokes"})
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, newReport(s, results), []string{"https/json", "https/ndjson", "https/array", "syslog", "keystrokes/https/ndjson"},
		linesMeasured, linesPerSecond, secondsPerMillion, receiverPerMillion)
	for _, file := range []string{"https-json-1.pprof", "syslog-2.pprof"} {
		if info, err := os.Stat(s.profiles + "/" + file); err != nil || info.Size() == 0 {
			t.Errorf("no profile %s: %v", file, err)
		}
	}
}

func TestElasticsearch(t *testing.T) {
	need(t, "bash", "java", "javac", "jar", "mvn", "unzip", "flock")
	s := smallSettings(t)
	s.runs = 1
	results, err := benchmark(t.Context(), s, []string{"elasticsearch"})
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, newReport(s, results), []string{"elasticsearch"}, linesMeasured, linesPerSecond, secondsPerMillion)
}

func TestSSH(t *testing.T) {
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

// checkRows checks that each subject was measured in every run, and has a row in the table.
func checkRows(t *testing.T, r *report, subjects []string, metrics ...string) {
	t.Helper()
	if len(r.Results) != len(subjects) {
		t.Errorf("%d subjects were measured, expected %d", len(r.Results), len(subjects))
	}
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
		if titles[subject] == "" || !strings.Contains(table, "\n| "+titles[subject]+" | ") {
			t.Errorf("the table has no row of %s:\n%s", subject, table)
		}
	}
	if strings.Contains(table, "not measured") {
		t.Errorf("something was not measured:\n%s", table)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestTerminalIsTheSameForASeed(t *testing.T) {
	output := func(seed uint64) (b []byte, frames []schema.Frame) {
		terminal := newTerminal(seed)
		for range 2000 {
			frames = terminal.show(frames)
		}
		for _, f := range frames {
			b = append(b, f.Payload...)
		}
		return b, frames
	}
	first, frames := output(1)
	if again, _ := output(1); !bytes.Equal(first, again) {
		t.Fatal("the same seed gave something else")
	}
	if other, _ := output(2); bytes.Equal(first, other) {
		t.Fatal("another seed gave the same")
	}
	lines := bytes.SplitAfter(first, []byte("\n"))
	if rest := lines[len(lines)-1]; len(rest) > 0 {
		t.Errorf("the output ends without a newline: %q", rest)
	}
	if average := len(first) / (len(lines) - 1); average < 92 || average > 102 {
		t.Errorf("a line has %d bytes on average, expected about 97", average)
	}
	for _, line := range lines {
		if len(line) > 16<<10 {
			t.Errorf("a line has %d bytes, and becomes more than one record", len(line))
		}
	}
	// A line that takes longer than ten seconds becomes more than one record.
	began := int64(0)
	for _, f := range frames {
		if began == 0 {
			began = f.Time
		}
		if f.Time-began >= 10e9 {
			t.Fatalf("a line takes %.1f seconds", float64(f.Time-began)/1e9)
		}
		if bytes.IndexByte(f.Payload, '\n') >= 0 {
			began = 0
			if f.Payload[len(f.Payload)-1] != '\n' {
				began = f.Time
			}
		}
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
