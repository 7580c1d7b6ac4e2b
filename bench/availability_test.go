package main

import (
	"testing"
	"time"
)

// TestAvailability runs attacks with few seconds each. No time is asserted, nor what is left
// afterwards: the machine does other things meanwhile.
func TestAvailability(t *testing.T) {
	t.Parallel()
	s := smallSettings(t)
	s.attack = 4 * time.Second
	names := map[string]bool{}
	for _, a := range attacks {
		names[a.name] = true
	}
	for _, name := range []string{"admin/slow-bodies", "admin/wrong-tokens", "ssh/silent", "ssh/after-key-exchange", "ssh/idle-connections", "session/output", "session/processes"} {
		if !names[name] {
			t.Errorf("the attack %s is missing", name)
		}
	}
	err := inFolder(s, func() error {
		for _, a := range attacks {
			t.Run(a.name, func(t *testing.T) {
				r, err := besiege(t.Context(), s, a, 0)
				if err != nil {
					t.Fatal(err)
				}
				if r.ended+r.refused+r.denied > 0 {
					t.Errorf("%d sessions ended, %d logins and %d requests of the operator were refused: %v", r.ended, r.refused, r.denied, r.detail)
				}
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
