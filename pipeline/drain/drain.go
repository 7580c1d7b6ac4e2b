package drain

import (
	"slices"
	"strconv"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Drain is a destination of session logs, as it is configured.
type Drain struct {
	Name string
	// Settings are the origin of Open and of the fields below. Two drains with the same name and
	// Settings that are [reflect.DeepEqual] are the same. A drain without Settings never changes.
	// Settings may hold secrets, and are not printed.
	Settings any
	// Fingerprint returns a text that changes with the settings and the salt, and from which the
	// settings cannot be derived. It shows, across restarts too, whether a drain that was gone has
	// been changed. Nil if the settings never change.
	Fingerprint func(salt string) string
	// Open opens a sink: one for the workers of all partitions or, if it takes one write at a time,
	// one for each. It may be called while another sink of this drain is open.
	Open func() (sinks.Sink, error)
	// PHI allows the drain to receive protected health information. Without it the drain receives no
	// record of an operation that may hold some, whatever Match says: these records are counted and
	// withheld.
	PHI bool
	// Match selects the apps whose records the drain receives. Empty: all.
	Match []Match
	// Writers is the maximum number of concurrent writes, each of other operations. The sink must
	// allow them. With 0 or 1, a sink gets one write at a time.
	Writers int
	// Alone means that the sink sends each record by itself, so that a few records are worth a
	// concurrent write. Otherwise it is better to wait until many can be sent together.
	Alone bool
	// Unconfirmed means that the drain's protocol has no acknowledgements, so that the sink may
	// notice after a write that records were lost. While there is nothing else to deliver, it is
	// called without entries, and redelivers them.
	Unconfirmed bool
	// Timeout is the sink's time limit for one request, or for a batch if it sends that as a whole; 0
	// for half a minute. Batches become smaller when the drain comes close to it.
	Timeout time.Duration
	// BatchRecords and BatchBytes limit one write, and with several writers the sum of their writes. A
	// batch has at least one segment.
	BatchRecords, BatchBytes int
	// BatchWait is the time for which a batch lingers to fill. With 0, pending records are written at
	// once, and the next batch fills meanwhile.
	BatchWait time.Duration
}

// A Match is a stack and an app. "" matches any.
type Match struct{ Stack, App string }

// States lists the states of a drain, the worst last.
var States = []string{schema.DrainDelivering, schema.DrainRetrying, schema.DrainRejecting, schema.DrainMisconfigured, schema.DrainUnread, schema.DrainPaused, schema.DrainGone}

// fullRecords and fullBytes are the size of a write that does not become more efficient by growing.
const (
	fullRecords = 1000
	fullBytes   = 1 << 20
)

// MaxRecords returns the maximum number of records in a batch.
func (d *Drain) MaxRecords() int {
	return min(d.BatchRecords, max(d.BatchRecords/max(1, d.Writers), fullRecords))
}

// MaxBytes returns the maximum size of a batch.
func (d *Drain) MaxBytes() int {
	return min(d.BatchBytes, max(d.BatchBytes/max(1, d.Writers), fullBytes))
}

// ConcurrentRecords returns the number of records that are worth a write while another one is in
// flight.
func (d *Drain) ConcurrentRecords() int {
	if d.Alone {
		return 1
	}
	return min(d.MaxRecords(), fullRecords)
}

// Accepts reports whether the drain, as it is configured now, receives an operation.
func (d *Drain) Accepts(op *schema.Operation) bool {
	if op.PHI && !d.PHI {
		return false
	}
	return len(d.Match) == 0 || slices.ContainsFunc(d.Match, func(m Match) bool {
		return (m.Stack == "" || m.Stack == op.Stack) && (m.App == "" || m.App == op.App)
	})
}

// LeaseName returns the name of the lease on a partition of a drain, which is that of the position
// too.
func LeaseName(drain string, partition int) string {
	return "drain." + schema.Token(drain) + "." + strconv.Itoa(partition)
}

// Filters returns the sorted filters that match the segments of a partition that the drain
// receives.
func (d *Drain) Filters(partition int) (filters []string) {
	for _, m := range d.Match {
		filters = append(filters, schema.FilterLogs(partition, m.Stack, m.App))
	}
	if len(filters) == 0 {
		filters = []string{schema.FilterLogs(partition, "", "")}
	}
	slices.Sort(filters)
	return filters
}
