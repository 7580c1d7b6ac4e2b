package operate

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
)

func openOperator(t *testing.T, drains ...string) *Operator {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Sync: time.Hour, Partitions: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	o := &Operator{Bus: b}
	for _, name := range drains {
		o.Drains = append(o.Drains, drain.Drain{Name: name})
	}
	return o
}

// TestList holds that the status of a drain combines those of its workers with its desired state.
func TestList(t *testing.T) {
	o := openOperator(t, "siem", "away", "paused", "gone")
	now := time.Now().UTC().Truncate(time.Second)
	for _, s := range []schema.DrainState{
		{Drain: "siem", Partition: 0, State: schema.DrainDelivering, LagRecords: 1, LagSegments: 1, LagSeconds: 3, Delivered: 10, Rate: 1, Updated: now},
		{Drain: "siem", Partition: 1, State: schema.DrainMisconfigured, LagRecords: 2, LagSegments: 1, LagAtLeast: true, LagSeconds: 2, Delivered: 20, Rate: 2,
			NextTry: now.Add(time.Minute), LastError: "403", LastErrorAt: now, Updated: now},
		{Drain: "paused", Partition: 0, State: schema.DrainRetrying, NextTry: now.Add(time.Minute), Updated: now},
	} {
		if err := o.Bus.SaveDrainState(t.Context(), &s); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Pause(t.Context(), "paused", true); err != nil {
		t.Fatal(err)
	}
	err := o.Bus.ChangeDrainControl(t.Context(), "gone", func(c *schema.DrainControl) { c.Gone = &schema.Gone{Reason: "410", At: now} })
	if err != nil {
		t.Fatal(err)
	}
	list, err := o.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []DrainStatus{
		{Name: "siem", State: schema.DrainMisconfigured, LagRecords: 3, LagAtLeast: true, LagSegments: 2, LagSeconds: 3, Delivered: 30, Rate: 3,
			LastError: "403", LastErrorAt: now, NextTry: now.Add(time.Minute)},
		{Name: "away", State: Unattended},
		{Name: "paused", State: schema.DrainPaused},
		{Name: "gone", State: schema.DrainGone, LastError: "410", LastErrorAt: now},
	}
	if len(list) != len(want) {
		t.Fatalf("the list has %d drains", len(list))
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("the status is %+v, want %+v", list[i], want[i])
		}
	}
	if err := o.Pause(t.Context(), "gone", false); err != nil { // resumed
		t.Fatal(err)
	}
	if list, err := o.List(t.Context()); err != nil || list[3].State != Unattended {
		t.Errorf("after it was resumed, the drain is %+v, %v", list[3], err)
	}
}

// TestUnknownDrain holds that the error lists the drains that exist.
func TestUnknownDrain(t *testing.T) {
	o := openOperator(t, "one", "two")
	err := o.Pause(t.Context(), "tow", true)
	if !errors.Is(err, ErrUnknownDrain) || !strings.Contains(err.Error(), "one, two") {
		t.Errorf("the error is %v", err)
	}
	o.Update([]drain.Drain{{Name: "tow"}})
	if err := o.Pause(t.Context(), "tow", true); err != nil {
		t.Errorf("after an update: %v", err)
	}
}

// TestBadKill holds that a request to end sessions has to say which, and who asks.
func TestBadKill(t *testing.T) {
	o := &SessionOperator{Bus: openOperator(t).Bus}
	for name, r := range map[string]KillRequest{
		"nobody asks":          {Operations: []string{"1"}},
		"nothing is selected":  {By: "Ada"},
		"too much is selected": {By: "Ada", Operations: []string{"1"}, App: "web"},
		"a long reason":        {By: "Ada", App: "web", Because: strings.Repeat("x", maxBecause+1)},
	} {
		if _, err := o.Kill(t.Context(), r); !errors.Is(err, ErrBadKill) {
			t.Errorf("%s: %v", name, err)
		}
	}
	results, err := o.Kill(t.Context(), KillRequest{By: "Ada", Operations: []string{"999999"}})
	if err != nil || len(results) != 1 || results[0].Result != KillUnknown {
		t.Errorf("an unknown session: %+v, %v", results, err)
	}
}
