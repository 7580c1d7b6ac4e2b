package sinks

import (
	"context"

	"github.com/ttydrain/ttydrain/schema"
)

// An Entry is one record of a batch, with its operation. Neither may be changed.
type Entry struct {
	Operation *schema.Operation
	Record    *schema.Record
}

// A Sink writes batches of records to one drain.
//
// A sink does not decide about retries: it returns an [*Error] with a [Verdict], which the
// pipeline's table of acknowledgements (pipeline/router/verdict.go) maps to an action.
type Sink interface {
	// Write delivers the batch, and returns nil once the drain has acknowledged all of it in its
	// own protocol. It blocks until then or until ctx is done. The records of an operation arrive
	// in the order of the batch; between operations there is no order.
	//
	// Otherwise it returns an *Error with the entries that were not delivered. After an error an
	// entry can still have arrived: a repeat is recognisable by operation ID and sequence.
	//
	// Without entries, Write redelivers records of earlier Writes that the sink found out to be
	// lost, where its protocol confirms nothing. It returns nil at once where there are none.
	//
	// The batch is the caller's: the sink keeps neither it nor any of its bytes after it returns.
	//
	// At most Limits.Concurrency goroutines call Write at a time, and no two of them have records
	// of the same operation at a time.
	Write(ctx context.Context, batch []Entry) error

	// Probe checks whether the drain could be written to, as far as its protocol allows without
	// writing a record: address, TLS, authentication. It may run at the same time as Write.
	Probe(ctx context.Context) error

	// Close releases connections. It may be called once, when no Write or Probe is running.
	Close() error
}

// An Opener holds the settings of one drain. The Options of every sink's package are one.
type Opener interface {
	// Open returns a new sink. It reads the files that the settings name, and connects to nothing.
	// An error holds a [*SettingError] for each setting that is not accepted.
	Open() (Sink, error)
	// Limits returns the limits of the sinks that Open returns.
	Limits() Limits
}

// Limits are what a sink requires of its callers.
type Limits struct {
	// Concurrency is the maximum number of Writes at a time; 0 and 1 mean one after the other.
	Concurrency int
	// OneByOne means that each record is a request of its own, so that a batch of few records is
	// worth a Write. Otherwise it is better to wait until many can be sent together.
	OneByOne bool
	// Unconfirmed means that the protocol confirms no record, so that the sink can find out after a
	// Write that records are lost: it has to be called without entries now and then.
	Unconfirmed bool
}
