package schema

import "testing"

// TestRecent checks that a key that is looked up regularly is kept and any other key is dropped.
func TestRecent(t *testing.T) {
	var r recent[int, int]
	look := func(key int) (known bool) {
		r.lookUp()
		value, ok := r.current[key]
		if !ok {
			if value, ok = r.previous[key]; !ok {
				value = -key
			}
			r.put(key, value)
		}
		if value != -key {
			t.Fatalf("got value %d for key %d", value, key)
		}
		return ok
	}
	if look(0) {
		t.Fatal("found a key before it was put")
	}
	for i := 1; i < 10*minLookups; i++ {
		if look(i) {
			t.Fatalf("found key %d before it was put", i)
		}
		if i%(minLookups/2) == 0 && !look(0) {
			t.Fatalf("dropped a key that was looked up %d lookups ago", minLookups/2)
		}
	}
	if look(1) {
		t.Error("still holds a key that has not been looked up since the start")
	}
}
