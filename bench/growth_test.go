package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func smallGrowth(t *testing.T) *settings {
	s := smallSettings(t)
	s.runs = 1
	// What a disk takes is not what is tested, and others are at work on it.
	if dir, err := os.MkdirTemp("/dev/shm", "ttydrain-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		s.base = dir
	}
	s.growthSettings = growthSettings{
		latencyTime: 500 * time.Millisecond, liveSessions: 3, liveRate: 150, liveBurst: 2, soak: 2500 * time.Millisecond, backlog: 100_000, growthLines: 1000,
	}
	return s
}

// TestGrowth runs all of it with small numbers. That every record arrived, once and in order, is
// checked by the runs themselves, which fail where one did not.
func TestGrowth(t *testing.T) {
	s := smallGrowth(t)
	results, err := benchmark(t.Context(), s, []string{"latency", "fanout/1", "fanout/10", "catchup", "growth", "soak"})
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(s, results)
	table := r.markdown()
	want := map[string][]string{
		"latency/https": {latencyP50, latencyP99, latencyMax, latencyRate, latencyCPU}, "latency/syslog": {latencyP50, latencyP999}, "latency/https/single": {latencyP50},
		"fanout/1": {growthCPU, growthUnitCPU, sinkCPU, growthPeak}, "fanout/10": {growthCPU, fanoutExtra, fanoutEnriched},
		"catchup":           {catchupBacklog, catchupRate, catchupCPU, catchupBefore, catchupLive},
		"growth/sessions/1": {growthUnits, growthCPU, growthWall, growthPeak}, "growth/lines/1000": {growthUnits, growthUnitCPU},
		"soak": {soakTime, soakRate, soakCPU, soakResident, soakMean, soakHeap},
	}
	if len(results) != len(want) {
		t.Errorf("%d subjects were measured, expected %d", len(results), len(want))
	}
	for subject, metrics := range want {
		one := r.result(subject)
		if len(one.Samples) != 1 {
			t.Errorf("%s: %d runs (%s)", subject, len(one.Samples), one.Missing)
			continue
		}
		for _, metric := range metrics {
			if v := one.Samples[0][metric]; !(v > 0) {
				t.Errorf("%s: %s is %v", subject, metric, v)
			}
			if how[metric] == "" {
				t.Errorf("nothing says how %s is measured", metric)
			}
		}
		if !strings.Contains(table, "\n| "+titleOf(subject)+" | ") {
			t.Errorf("the table has no row of %s:\n%s", subject, table)
		}
	}
	plots, err := r.growthPlots()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writePlots(dir, plots); err != nil {
		t.Fatal(err)
	}
	shown := images("plots", plots)
	for _, name := range []string{"soak", "growth-drains"} {
		if !strings.Contains(shown, "](plots/"+name+".svg)") {
			t.Errorf("no image of %s:\n%s", name, shown)
		}
		if info, err := os.Stat(filepath.Join(dir, name+".svg")); err != nil || info.Size() == 0 {
			t.Errorf("no plot %s: %v", name, err)
		}
	}
}

// records are those of an operation as drains get them.
func records(t *testing.T, events ...schema.Event) (asJSON, asSyslog []byte) {
	t.Helper()
	op := &schema.Operation{ID: "42", App: `web,"sequence":7,`, Host: "gateway-1", User: schema.User{ID: "u-1", Name: `Ada "event":"end"`}}
	var e schema.Encoder
	for i, event := range events {
		r := &schema.Record{Event: event, Sequence: uint64(i + 1), Time: 1767225600_123456789, Log: []byte(`{"event":"end","sequence":9,` + " end sequence=\"3\"\n"), Text: []byte("x")}
		var err error
		if asJSON, err = e.AppendRecord(asJSON, op, r); err != nil {
			t.Fatal(err)
		}
		asJSON = append(asJSON, '\n')
		message := "<134>1 2026-01-01T00:00:00.123456Z gateway-1 web 42 " + event.String() + ` [session@32473 operation_id="42" sequence="` + strconv.Itoa(i+1) + `" offset="0"][meta sequenceId="1"] operation_id=42 sequence="9" end`
		asSyslog = fmt.Appendf(asSyslog, "%d %s", len(message), message)
	}
	return asJSON, asSyslog
}

// TestLedger: what is missing, comes again or is in disorder is told.
func TestLedger(t *testing.T) {
	asJSON, _ := records(t, schema.EventStart, schema.EventOutput, schema.EventEnd)
	lines := bytes.SplitAfter(asJSON, []byte("\n"))[:3]
	for _, c := range []struct {
		name  string
		order []int
		want  tally
		exact bool
	}{
		{"all", []int{0, 1, 2}, tally{Records: 3, Ended: 1}, true},
		{"repeat", []int{0, 1, 1, 2}, tally{Records: 3, Repeats: 1, Ended: 1}, false},
		{"missing", []int{0, 2}, tally{Records: 2, Missing: 1, Ended: 1}, false},
		{"disorder", []int{1, 0, 2}, tally{Records: 2, Missing: 1, Repeats: 1, Ended: 1}, false},
		{"no end", []int{0, 1}, tally{Records: 2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(true)
			for _, i := range c.order {
				a, err := readJSON(lines[i])
				if err != nil {
					t.Fatal(err)
				}
				if string(a.operation) != "42" || a.sequence != uint64(i+1) || a.ended != (i == 2) || string(a.time) != "2026-01-01T00:00:00.123456789Z" {
					t.Errorf("record %d is read as %+v", i, a)
				}
				if err := l.add(a, time.Unix(1767225600, 123456789+int64(i+1)*1e6)); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.tally; got.Records != c.want.Records || got.Repeats != c.want.Repeats || got.Missing != c.want.Missing || got.Ended != c.want.Ended {
				t.Errorf("the tally is %+v, expected %+v", got, c.want)
			}
			if err := l.exact(3, 1, false); (err == nil) != c.exact {
				t.Errorf("exact: %v", err)
			}
			if c.name == "repeat" && l.exact(3, 1, true) != nil {
				t.Error("a repeat is no mistake where it is allowed")
			}
			if w := l.window(); c.exact && (w.N != 3 || w.Min != 1 || w.P50 != 2 || w.Max != 3) {
				t.Errorf("the latency is %+v", w)
			}
		})
	}
	for _, bad := range []string{"", "{}", `{"@timestamp":"x`, strings.Replace(string(lines[0]), `"sequence":1`, `"sequence":x`, 1)} {
		if a, err := readJSON([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, a)
		}
	}
}

func TestSyslogFrames(t *testing.T) {
	_, data := records(t, schema.EventStart, schema.EventEnd)
	l := &ledgers{drains: make(map[string]*ledger)}
	l.changed.L = &l.mu
	if err := l.readFrames(newFrameReader(bytes.NewReader(data))); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := l.drains["syslog"].exact(2, 1, false); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x ", "5 abc", "12 <134>1 x y z", "300000 <134>1"} {
		if err := l.readFrames(newFrameReader(strings.NewReader(bad))); err == nil || err == io.EOF {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestDown: a drain that is down takes nothing before it is up.
func TestDown(t *testing.T) {
	w, err := startWitness(t.Context(), witnessSetup{Protocol: "https", Dir: t.TempDir(), Down: "down"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	asJSON, _ := records(t, schema.EventStart, schema.EventEnd)
	config, err := sinks.TLS{CAFile: w.CAFile}.Config()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	post := func(drain string) int {
		answer, err := client.Post("https://"+w.Address+"/"+drain, "", bytes.NewReader(asJSON))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if status := post("down"); status != http.StatusServiceUnavailable {
		t.Errorf("a drain that is down answered %d", status)
	}
	if status := post("other"); status != http.StatusOK {
		t.Errorf("another drain answered %d", status)
	}
	if _, err := w.asks(witnessQuestion{Up: "down"}); err != nil {
		t.Fatal(err)
	}
	if status := post("down"); status != http.StatusOK {
		t.Errorf("a drain that is up answered %d", status)
	}
	got, err := w.asks(witnessQuestion{Drains: 2, Sessions: 1})
	if err != nil || got.Drains["down"].exact(2, 1, false) != nil || got.Drains["other"].exact(2, 1, false) != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		power float64
		want  string
	}{{0.5, "linear or better"}, {1, "linear or better"}, {1.3, "worse than linear"}} {
		var points curve
		for x := 1.0; x <= 1e4; x *= 10 {
			points = append(points, [2]float64{x, 3 * math.Pow(x, c.power)})
		}
		f, ok := fitOf(points)
		if !ok || math.Abs(f.Exponent-c.power) > 1e-9 || math.Abs(f.Last-c.power) > 1e-9 || f.verdict() != c.want {
			t.Errorf("x^%g: %v, %v", c.power, f, ok)
		}
	}
	// What begins to grow faster at the end is not lost in the whole.
	if f, ok := fitOf(curve{{1, 10}, {10, 11}, {100, 12}, {1000, 240}}); !ok || f.Exponent > 1 || f.verdict() != "worse than linear" {
		t.Errorf("%v, %v", f, ok)
	}
	if f, ok := fitOf(curve{{1, 1}}); ok {
		t.Errorf("one point gives %v", f)
	}
}

// TestPlots: each kind is small, is XML, and is the same when it is drawn again.
func TestPlots(t *testing.T) {
	var long curve
	for i := range 600 {
		long = append(long, [2]float64{float64(i), 40 + 3*math.Sin(float64(i))})
	}
	draw := map[string]func() ([]byte, error){
		"bars": func() ([]byte, error) {
			p, err := barPlot("From the stream to HTTPS", "records/s", []bar{{"limit", 666_000}, {"ttydrain", 410_000}, {"syslog-ng", 189_000}, {"Telegraf", 33_500}}, "ttydrain")
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"lines": func() ([]byte, error) {
			p, err := linePlot("Memory", "seconds", "megabytes", 64, "64 MB", line{"resident", long}, line{"heap", long[:300]})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"latency": func() ([]byte, error) {
			p, err := latencyPlot("Latency", 100, "100 ms", line{"HTTPS", curve{{0, .4}, {.5, 2}, {.9, 5}, {.99, 30}, {.999, 60}}}, line{"syslog", curve{{0, .3}, {.5, 1}, {.99, 20}}})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
		"growth": func() ([]byte, error) {
			p, err := growthPlot("Cost", "lines", "seconds", line{"processor time", curve{{3000, .03}, {11_000, .08}, {1e6, 5}}}, line{"elapsed", curve{{3000, .05}, {1e6, 7}}})
			if err != nil {
				return nil, err
			}
			return svg(p)
		},
	}
	for name, plot := range draw {
		first, err := plot()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, _ := plot(); !bytes.Equal(first, again) {
			t.Errorf("%s: the same plot is drawn otherwise", name)
		}
		if len(first) > 50<<10 {
			t.Errorf("%s: %d bytes", name, len(first))
		}
		if err := xml.Unmarshal(first, new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if keep := os.Getenv("TTYDRAIN_KEEP_PLOTS"); keep != "" {
			if err := os.WriteFile(filepath.Join(keep, name+".svg"), first, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 1: "1", 999: "999", 1000: "1 k", 33_500: "33.5 k", 666_123: "666 k", 1e6: "1 M", 12_345_678: "12.3 M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %q, expected %q", v, got, want)
		}
	}
}
