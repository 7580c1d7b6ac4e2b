package receivers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func TestMain(m *testing.M) {
	if process.Main(map[string]process.Role{"witness": WitnessMain}) {
		return
	}
	os.Exit(m.Run())
}

// records returns the records of an operation with some events, as drains receive them.
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

// TestLedger checks that missing, repeated and out-of-order records are counted.
func TestLedger(t *testing.T) {
	asJSON, _ := records(t, schema.EventStart, schema.EventOutput, schema.EventEnd)
	lines := bytes.SplitAfter(asJSON, []byte("\n"))[:3]
	for _, c := range []struct {
		name  string
		order []int
		want  Tally
		exact bool
	}{
		{"all", []int{0, 1, 2}, Tally{Records: 3, Ended: 1}, true},
		{"repeat", []int{0, 1, 1, 2}, Tally{Records: 3, Repeats: 1, Ended: 1}, false},
		{"missing", []int{0, 2}, Tally{Records: 2, Missing: 1, Ended: 1}, false},
		{"disorder", []int{1, 0, 2}, Tally{Records: 2, Missing: 1, Repeats: 1, Ended: 1}, false},
		{"no end", []int{0, 1}, Tally{Records: 2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(true)
			for _, i := range c.order {
				a, err := readJSON(lines[i])
				if err != nil {
					t.Fatal(err)
				}
				if string(a.operation) != "42" || a.sequence != uint64(i+1) || a.ended != (i == 2) || string(a.time) != "2026-01-01T00:00:00.123456789Z" {
					t.Errorf("record %d is parsed as %+v", i, a)
				}
				if err := l.add(a, time.Unix(1767225600, 123456789+int64(i+1)*1e6)); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.Tally; got.Records != c.want.Records || got.Repeats != c.want.Repeats || got.Missing != c.want.Missing || got.Ended != c.want.Ended {
				t.Errorf("the tally is %+v, expected %+v", got, c.want)
			}
			if err := l.Verify(3, 1, false); (err == nil) != c.exact {
				t.Errorf("Verify: %v", err)
			}
			if c.name == "repeat" && l.Verify(3, 1, true) != nil {
				t.Error("an allowed repeat is an error")
			}
			if w := l.window(); c.exact && (w.N != 3 || w.Min != 1 || w.P50 != 2 || w.Max != 3) {
				t.Errorf("the latency is %+v", w)
			}
		})
	}
	for _, bad := range []string{"", "{}", `{"@timestamp":"x`, strings.Replace(string(lines[0]), `"sequence":1`, `"sequence":x`, 1)} {
		if a, err := readJSON([]byte(bad)); err == nil {
			t.Errorf("%q is parsed as %+v", bad, a)
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
	if err := l.drains["syslog"].Verify(2, 1, false); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x ", "5 abc", "12 <134>1 x y z", "300000 <134>1"} {
		if err := l.readFrames(newFrameReader(strings.NewReader(bad))); err == nil || err == io.EOF {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestDown checks that a drain that is down accepts no records before it comes up.
func TestDown(t *testing.T) {
	w, err := StartWitness(t.Context(), WitnessSetup{Protocol: "https", Dir: t.TempDir(), Down: "down"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
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
	if _, err := w.Query(WitnessQuestion{Up: "down"}); err != nil {
		t.Fatal(err)
	}
	if status := post("down"); status != http.StatusOK {
		t.Errorf("a drain that is up answered %d", status)
	}
	got, err := w.Query(WitnessQuestion{Drains: 2, Sessions: 1})
	if err != nil || got.Drains["down"].Verify(2, 1, false) != nil || got.Drains["other"].Verify(2, 1, false) != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
