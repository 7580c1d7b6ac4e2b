package schema

// recentAsks is how many asks a value outlives at the least: enough for two thousand sessions that
// take turns, where there are eight partitions. Operations of sessions that have ended are memory
// for nothing.
const recentAsks = 256

// recent keeps the values of the keys that were asked for lately: those that were among the last
// recentAsks, and of those before them no more than as many again. It is for one goroutine; the
// zero value is ready.
//
// Whoever asks calls ask, looks into now and then into before, and puts what was not in now.
type recent[K comparable, V any] struct {
	now, before map[K]V
	asked       int // since now was begun
}

func (r *recent[K, V]) ask() {
	if r.asked++; r.asked > recentAsks {
		r.before, r.now, r.asked = r.now, nil, 1
	}
}

func (r *recent[K, V]) put(key K, value V) {
	if r.now == nil {
		r.now = make(map[K]V)
	}
	r.now[key] = value
}
