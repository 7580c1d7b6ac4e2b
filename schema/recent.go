package schema

// minLookups is the minimum number of lookups for which a value is kept: enough for two thousand
// sessions that alternate over eight partitions. The operations of sessions that have ended only
// cost memory.
const minLookups = 256

// recent is a cache of two generations. It keeps the values that were used in the last minLookups
// lookups, and at most as many older ones. It must not be used concurrently; the zero value is
// ready to use.
//
// A caller calls lookUp, reads current and then previous, and puts the value if it was not in
// current.
type recent[K comparable, V any] struct {
	current, previous map[K]V
	lookups           int // since current was created
}

func (r *recent[K, V]) lookUp() {
	if r.lookups++; r.lookups > minLookups {
		r.previous, r.current, r.lookups = r.current, nil, 1
	}
}

func (r *recent[K, V]) put(key K, value V) {
	if r.current == nil {
		r.current = make(map[K]V)
	}
	r.current[key] = value
}
