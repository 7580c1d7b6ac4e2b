package main

import (
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/bench/availability"
	"github.com/ttydrain/ttydrain/bench/measure"
)

// TestAvailability runs each attack for a few seconds. It asserts no times and no resources after
// the attack, because the machine has other load.
func TestAvailability(t *testing.T) {
	t.Parallel()
	s := smallSettings(t)
	s.Attack = 4 * time.Second
	names := map[string]bool{}
	for _, a := range availability.Attacks() {
		names[a.Name] = true
	}
	for _, name := range []string{"admin/slow-bodies", "admin/wrong-tokens", "ssh/silent", "ssh/after-key-exchange", "ssh/idle-connections", "session/output", "session/processes"} {
		if !names[name] {
			t.Errorf("the attack %s is missing", name)
		}
	}
	err := measure.InFolder(s, func() error {
		for _, a := range availability.Attacks() {
			t.Run(a.Name, func(t *testing.T) {
				r, err := availability.Measure(t.Context(), s, a, 0)
				if err != nil {
					t.Fatal(err)
				}
				if r.Ended+r.Refused+r.Denied > 0 {
					t.Errorf("%d sessions ended, %d logins and %d requests of the operator were refused: %v", r.Ended, r.Refused, r.Denied, r.Detail)
				}
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
