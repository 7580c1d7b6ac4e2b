// Package sinks says what a sink is: the last piece of the way, which writes records to a drain in
// one wire protocol. The sinks themselves are in the packages below it, and every one of them
// passes the conformance suite in sinks/sinktest.
package sinks

import (
	"context"

	"github.com/ttydrain/ttydrain/schema"
)

// An Entry is one record of a batch with the operation that it is of. Neither may be changed.
type Entry struct {
	Operation *schema.Operation
	Record    *schema.Record
}

// A Sink writes batches of records to one drain.
//
// A sink decides nothing about retrying: it says in an [*Error] what became of the batch, and the
// pipeline's one table of acknowledgement does the rest.
type Sink interface {
	// Write delivers the batch and returns nil once the drain has said, in its own protocol, that it
	// has all of it. It blocks until then or until ctx is done. The records of an operation arrive in
	// the order of the batch; between operations there is no order.
	//
	// Otherwise the error is an *Error, which says which entries were not delivered. After an error
	// an entry can still have arrived: a repeat is recognisable by its operation ID and sequence.
	//
	// A write of no entries delivers again what the sink has found out to be lost of earlier writes,
	// where its protocol confirms nothing. It returns nil at once where there is nothing.
	//
	// The batch is the caller's: the sink keeps neither it nor any of its bytes after it returns.
	//
	// One goroutine calls Write at a time, or several, if the sink says that they may; no two of them
	// have records of the same operation at a time.
	Write(ctx context.Context, batch []Entry) error

	// Probe finds out whether the drain could be written to, as far as its protocol tells without
	// writing a record: address, TLS, authentication. It may run beside Write.
	Probe(ctx context.Context) error

	// Close releases connections. It may be called once, when no Write or Probe is running.
	Close() error
}
