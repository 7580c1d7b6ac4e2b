package drain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

func TestAccepts(t *testing.T) {
	for _, test := range []struct {
		name  string
		phi   bool
		match []Match
		op    schema.Operation
		want  bool
	}{
		{"everything", false, nil, schema.Operation{Stack: "default", App: "web"}, true},
		{"the stack", false, []Match{{Stack: "default"}}, schema.Operation{Stack: "default", App: "web"}, true},
		{"another stack", false, []Match{{Stack: "other"}}, schema.Operation{Stack: "default", App: "web"}, false},
		{"the app on any stack", false, []Match{{App: "api"}, {App: "web"}}, schema.Operation{Stack: "default", App: "web"}, true},
		{"the app on another stack", false, []Match{{Stack: "other", App: "web"}}, schema.Operation{Stack: "default", App: "web"}, false},
		{"health information without an agreement", false, nil, schema.Operation{PHI: true}, false},
		{"health information with an agreement", true, nil, schema.Operation{PHI: true}, true},
	} {
		d := Drain{PHI: test.phi, Match: test.match}
		if got := d.Accepts(&test.op); got != test.want {
			t.Errorf("%s: accepts %t", test.name, got)
		}
	}
}

func TestFilters(t *testing.T) {
	d := Drain{Match: []Match{{Stack: "b", App: "web"}, {Stack: "a"}}}
	want := []string{schema.FilterLogs(3, "a", ""), schema.FilterLogs(3, "b", "web")}
	if got := d.Filters(3); !slices.Equal(got, want) {
		t.Errorf("the filters are %q, want %q", got, want)
	}
	if got := new(Drain).Filters(3); !slices.Equal(got, []string{schema.FilterLogs(3, "", "")}) {
		t.Errorf("the filters of a drain without a match are %q", got)
	}
}

// TestBatchLimits holds that several writers divide the limits of a batch, as long as each write is
// large enough.
func TestBatchLimits(t *testing.T) {
	for _, test := range []struct {
		d                          Drain
		records, bytes, concurrent int
	}{
		{Drain{BatchRecords: 5000, BatchBytes: 8 << 20}, 5000, 8 << 20, fullRecords},
		{Drain{BatchRecords: 5000, BatchBytes: 8 << 20, Writers: 2}, 2500, 4 << 20, fullRecords},
		{Drain{BatchRecords: 5000, BatchBytes: 8 << 20, Writers: 16}, fullRecords, fullBytes, fullRecords},
		{Drain{BatchRecords: 500, BatchBytes: 1 << 19, Writers: 16, Alone: true}, 500, 1 << 19, 1},
	} {
		if r, b, c := test.d.MaxRecords(), test.d.MaxBytes(), test.d.ConcurrentRecords(); r != test.records || b != test.bytes || c != test.concurrent {
			t.Errorf("%+v has the limits %d, %d and %d", test.d, r, b, c)
		}
	}
}

// closing is a sink that counts how often it is closed.
type closing struct {
	sinks.Sink
	closed *int
}

func (c closing) Close() error { *c.closed++; return nil }

// TestOpenSinks holds that a sink with several writers is shared, and closed by its last user.
func TestOpenSinks(t *testing.T) {
	for _, test := range []struct{ writers, opened, closedEarly int }{{1, 3, 2}, {4, 1, 0}} {
		opened, closed := 0, 0
		d := Drain{Writers: test.writers, Open: func() (sinks.Sink, error) { opened++; return closing{closed: &closed}, nil }}
		all, err := d.OpenSinks(3)
		if err != nil || len(all) != 3 || opened != test.opened {
			t.Fatalf("with %d writers, %d sinks for %d users, %v", test.writers, opened, len(all), err)
		}
		for i, s := range all {
			if i == 2 && closed != test.closedEarly {
				t.Errorf("with %d writers, %d sinks are closed while one is in use", test.writers, closed)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if closed != opened {
			t.Errorf("with %d writers, %d of %d sinks are closed", test.writers, closed, opened)
		}
	}
}

// TestOpenSinksFails holds that the sinks of a drain that cannot be opened completely are closed.
func TestOpenSinksFails(t *testing.T) {
	opened, closed := 0, 0
	d := Drain{Name: "siem", Open: func() (sinks.Sink, error) {
		if opened == 2 {
			return nil, errors.New("no more")
		}
		opened++
		return closing{closed: &closed}, nil
	}}
	if _, err := d.OpenSinks(3); err == nil || !strings.Contains(err.Error(), "drain siem: no more") || closed != 2 {
		t.Errorf("%d sinks are closed, %v", closed, err)
	}
}

// TestTally counts segments that are read, delivered and counted ahead.
func TestTally(t *testing.T) {
	tally := NewTally(false, 10)
	expect := func(when string, want Lag) {
		t.Helper()
		if got := tally.Lag(); got != want {
			t.Errorf("%s, the lag is %+v, want %+v", when, got, want)
		}
	}
	expect("at first", Lag{AtLeast: true})
	tally.Start(3)
	expect("with three segments", Lag{Segments: 3, AtLeast: true})
	tally.Read(bus.Message{Sequence: 12, Pending: 2}, 5)
	expect("after one was read", Lag{Records: 5, Segments: 3, AtLeast: true})
	tally.Count(bus.Message{Sequence: 14, Pending: 1, Records: 7})
	tally.Count(bus.Message{Sequence: 15, Pending: 0, Records: 9, PHI: true}) // not for this drain
	expect("after the others were counted", Lag{Records: 12, Segments: 3})
	tally.Count(bus.Message{Sequence: 15, Pending: 0, Records: 9})
	expect("after one was counted twice", Lag{Records: 12, Segments: 3})
	shown := time.Unix(1, 0)
	tally.SetOldest(shown)
	tally.Read(bus.Message{Sequence: 14, Pending: 1}, 7)
	tally.Read(bus.Message{Sequence: 15, Pending: 0}, 0)
	tally.Deliver(14, 2, 12)
	expect("before the last was passed", Lag{Segments: 1, Oldest: shown})
	if tally.CaughtUp() {
		t.Error("caught up before the last segment")
	}
	tally.Deliver(15, 1, 0)
	expect("at the end", Lag{})
	if !tally.CaughtUp() {
		t.Error("not caught up at the end")
	}
}
