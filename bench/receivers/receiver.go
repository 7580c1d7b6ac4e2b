package receivers

import (
	"context"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

// A receiver is a process that takes what a drain is sent and does nothing but count it, so that
// what is measured is the sender. It speaks TLS, as real drains do.
type Receiver struct {
	*process.Child `json:"-"`
	// Address is host and port.
	Address string
	// CAFile has the authority of its certificate.
	CAFile string
}

// receiverSetup says what a receiver is to be.
type Setup struct {
	// Protocol is "https" (answers 200 to every request) or "syslog" (octet counting, RFC 6587
	// §3.4.1).
	Protocol string
	// Dir is where its certificates are.
	Dir string
	// Unit is what every record has once; "" where each frame is one (syslog).
	Unit string
	// Last is what the last record of a session has, and no other. In syslog it is looked for in the
	// first 256 bytes of each message.
	Last string
	// Keep is a file for what arrives (syslog), a message a line; "" to throw it away.
	Keep string
}

// What a receiver is asked to do.
const (
	askBegin = "begin" // count anew
	askFirst = "first" // say when something has arrived
	askAwait = "await" // say when that many sessions have arrived to their ends, with all their records
	askCount = "count" // say what has arrived
)

// receiverQuestion is what a receiver is asked.
type question struct {
	Do       string
	Sessions int // of askAwait
}

// received is a receiver's answer.
type Received struct {
	Records, Sessions int
	// Ends is how many records the sessions have whose ends have arrived, and Shown the bytes that
	// they showed, as their ends tell.
	Ends      int
	Shown     int64
	Bytes     int64         // of bodies or messages
	Processor time.Duration // that the receiver used since it began to count
}

func Start(ctx context.Context, setup Setup) (*Receiver, error) {
	r := new(Receiver)
	var err error
	r.Child, err = process.StartChild(ctx, "receiver", setup, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Receiver) Begin() error { return r.Ask(question{Do: askBegin}, new(Received)) }

// first waits until something has arrived since begin.
func (r *Receiver) AwaitFirst() (got Received, err error) {
	return got, r.Ask(question{Do: askFirst}, &got)
}

// await waits until so many sessions have arrived since begin, with all their records. It gives up
// when nothing has arrived for some time: see [received.whole].
func (r *Receiver) AwaitSessions(sessions int) (got Received, err error) {
	return got, r.Ask(question{Do: askAwait, Sessions: sessions}, &got)
}

func (r *Receiver) count() (got Received, err error) {
	return got, r.Ask(question{Do: askCount}, &got)
}

// openReceiver starts a receiver with a folder of its own.
func Open(ctx context.Context, s *measure.Settings, setup Setup) (_ *Receiver, err error) {
	if setup.Dir, err = os.MkdirTemp(s.Dir, "receiver-"); err != nil {
		return nil, err
	}
	return Start(ctx, setup)
}

// What every record has once as JSON, and what the last one of a session has. Quotes within a
// string are escaped, so that nothing in a session looks like it.
const (
	jsonUnit = `{"@timestamp":"`
	jsonLast = `"event":"end"`
)

// syslogLast is the same of syslog messages, where it is near the beginning.
const syslogLast = " end [session@32473 "

// What the receivers of drains are.
var (
	HTTPS  = Setup{Protocol: "https", Unit: jsonUnit, Last: jsonLast}
	Syslog = Setup{Protocol: "syslog", Last: syslogLast}
)
