package corpus

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

func TestTerminalDependsOnSeed(t *testing.T) {
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
		t.Error("the same seed resulted in other output")
	}
	if other, _ := output(2); bytes.Equal(first, other) {
		t.Error("another seed resulted in the same output")
	}
	// All recordings are played before one is repeated.
	for _, r := range Recordings() {
		if !bytes.Contains(first, r.events[len(r.events)-1].shown) {
			t.Errorf("%s is not played", r.name)
		}
	}
}

// TestRecordings checks that the recordings are complete, varied, and show nothing of the machine
// that they were made on.
func TestRecordings(t *testing.T) {
	if len(Recordings()) != len(scripts) {
		t.Errorf("there are %d recordings of %d", len(Recordings()), len(scripts))
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Recordings() {
		var all []byte
		for _, e := range r.events {
			all = append(all, e.shown...)
		}
		if !bytes.Contains(all, []byte("ada@web-1")) {
			t.Errorf("%s has no prompt", r.name)
		}
		for _, foreign := range []string{"@" + hostname, "/root", "/var/lib/ttydrain", "/home/"} {
			if foreign != "@web-1" && bytes.Contains(all, []byte(foreign)) {
				t.Errorf("%s shows %q, which belongs to the machine that it was made on", r.name, foreign)
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
	s := ComputeStatistics()
	if s.Bytes < 500_000 || s.BytesPerLine < 70 || s.BytesPerLine > 130 || s.Escapes < 0.05 || s.Escapes > 0.3 {
		t.Errorf("the corpus has changed: %+v", s)
	}
}
