package receivers

import (
	"context"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

// A Receiver is a process that receives what a drain sends and only counts it, so that the sender
// is measured. It uses TLS, as real drains do.
type Receiver struct {
	*process.Child `json:"-"`
	// Address is host and port.
	Address string
	// CAFile is the file with the authority of its certificate.
	CAFile string
}

// A Setup describes a receiver.
type Setup struct {
	// Protocol is "https" (answers 200 to every request) or "syslog" (octet counting, RFC 6587
	// §3.4.1).
	Protocol string
	// Dir is the folder for its certificate.
	Dir string
	// Unit occurs once in each record; "" if each frame is a record (syslog).
	Unit string
	// Last occurs only in the last record of a session; in syslog, within the first 256 bytes of the
	// message.
	Last string
	// Keep is a file that the messages are written to, one per line (syslog); "" to discard them.
	Keep string
}

// The questions to a receiver.
const (
	askBegin = "begin" // reset the counts
	askFirst = "first" // wait for the first record
	askAwait = "await" // wait for all records of a number of sessions
	askCount = "count" // return the counts
)

// A question is sent to a receiver, which answers with a [Counts].
type question struct {
	Do       string
	Sessions int // of askAwait
}

// Counts is the answer of a receiver.
type Counts struct {
	Records, Sessions int
	// Ends is the number of records of the sessions whose ends have arrived, and Shown the number of
	// bytes that they showed, both according to their ends.
	Ends      int
	Shown     int64
	Bytes     int64         // of bodies or messages
	Processor time.Duration // CPU time that the receiver has used since Begin
}

// Start starts a receiver.
func Start(ctx context.Context, setup Setup) (*Receiver, error) {
	r := new(Receiver)
	var err error
	r.Child, err = process.StartChild(ctx, "receiver", setup, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Begin resets the counts.
func (r *Receiver) Begin() error { return r.Ask(question{Do: askBegin}, new(Counts)) }

// AwaitFirst waits for the first record since Begin.
func (r *Receiver) AwaitFirst() (got Counts, err error) {
	return got, r.Ask(question{Do: askFirst}, &got)
}

// AwaitSessions waits until that many sessions have arrived since Begin, with all their records. It
// also returns when no record has arrived for [Patience]: see [Counts.Complete].
func (r *Receiver) AwaitSessions(sessions int) (got Counts, err error) {
	return got, r.Ask(question{Do: askAwait, Sessions: sessions}, &got)
}

func (r *Receiver) count() (got Counts, err error) {
	return got, r.Ask(question{Do: askCount}, &got)
}

// Open starts a receiver with a folder of its own.
func Open(ctx context.Context, s *measure.Settings, setup Setup) (_ *Receiver, err error) {
	if setup.Dir, err = os.MkdirTemp(s.Dir, "receiver-"); err != nil {
		return nil, err
	}
	return Start(ctx, setup)
}

// Text that occurs once in every JSON record, and text that occurs in the last one of a session.
// Quotes within a string are escaped, so that no output of a session contains it.
const (
	jsonUnit = `{"@timestamp":"`
	jsonLast = `"event":"end"`
)

// syslogLast occurs near the start of the last syslog message of a session.
const syslogLast = " end [session@32473 "

// The receivers of drains.
var (
	HTTPS  = Setup{Protocol: "https", Unit: jsonUnit, Last: jsonLast}
	Syslog = Setup{Protocol: "syslog", Last: syslogLast}
)
