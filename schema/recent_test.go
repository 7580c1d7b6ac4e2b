package schema

import "testing"

// TestRecent holds that a key which is asked for now and then is kept, and one that is not is let
// go of.
func TestRecent(t *testing.T) {
	var r recent[int, int]
	ask := func(key int) (known bool) {
		r.ask()
		value, ok := r.now[key]
		if !ok {
			if value, ok = r.before[key]; !ok {
				value = -key
			}
			r.put(key, value)
		}
		if value != -key {
			t.Fatalf("%d is the value of %d", value, key)
		}
		return ok
	}
	if ask(0) {
		t.Fatal("knows what nobody has asked for")
	}
	for i := 1; i < 10*recentAsks; i++ {
		if ask(i) {
			t.Fatalf("knows %d before it was asked for", i)
		}
		if i%(recentAsks/2) == 0 && !ask(0) {
			t.Fatalf("has forgotten what it was asked for %d asks ago", recentAsks/2)
		}
	}
	if ask(1) {
		t.Error("remembers what nobody has asked for since the beginning")
	}
}
