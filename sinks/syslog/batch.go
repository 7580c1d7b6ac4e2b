package syslog

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// maxKept is the size in bytes of a batch whose buffer is kept for the next one.
const maxKept = 8 << 20

// A batch encodes entries into the bytes of a connection. It is for one goroutine.
type batch struct {
	priority   srslog.Priority
	maxMessage int // in bytes; 0 for no limit
	writer     *srslog.Writer
	encoder    encoder
	frames     frames
	line       []byte       // what the formatter gives; reused from line to line
	tooLong    []sinks.Item // the entries that the last encode left out
}

func newBatch(o Options) (*batch, error) {
	b := &batch{priority: o.priority(), maxMessage: o.MaxMessageBytes, encoder: encoder{exact: o.Exact}}
	switch {
	case o.TokenEnterprise != 0:
		b.encoder.element = fmt.Sprintf("[%s@%d]", o.Token, o.TokenEnterprise)
	case o.Token != "":
		b.encoder.token = o.Token + " "
	}
	var err error
	b.writer, err = srslog.DialWithCustomDialer("custom", o.Address, b.priority, "ttydrain",
		func(string, string) (net.Conn, error) { return &b.frames, nil })
	if err != nil {
		return nil, fmt.Errorf("make a syslog writer: %w", err)
	}
	// The host name of a message is that of its record. One that is set keeps srslog from asking
	// the connection for an address.
	b.writer.SetHostname("-")
	b.writer.SetFormatter(b.format)
	if o.Framing == Newline {
		b.writer.SetFramer(newlineFramer)
	} else {
		b.writer.SetFramer(octetFramer)
	}
	return b, nil
}

// encode returns the framed messages of the entries, but of those in tooLong. They are valid until
// the next call.
func (b *batch) encode(entries []sinks.Entry) []byte {
	if cap(b.frames.data) > maxKept {
		b.frames.data = nil
	}
	b.frames.data = b.frames.data[:0]
	b.tooLong = nil
	for i, entry := range entries {
		p := b.priority
		if entry.Record.Event == schema.EventGap && p&7 > srslog.LOG_WARNING {
			p = p&^7 | srslog.LOG_WARNING
		}
		for x := whole; ; x++ {
			b.line = b.encoder.append(b.line[:0], p, entry.Operation, entry.Record, x)
			if b.fits() || x == withoutLog || !b.encoder.exact {
				break
			}
		}
		if !b.fits() {
			b.tooLong = append(b.tooLong, sinks.Item{Index: i, Verdict: sinks.TooLarge,
				Reason: fmt.Sprintf("not sent: its message has %d bytes, and the drain takes %d", len(b.line), b.maxMessage)})
			continue
		}
		// frames takes everything, so there is no error, and srslog never connects anew.
		b.writer.WriteWithPriority(p, nil)
	}
	return b.frames.data
}

func (b *batch) fits() bool { return b.maxMessage == 0 || len(b.line) <= b.maxMessage }

// refused is the error for what encode left out; nil for nothing.
func (b *batch) refused() error {
	if len(b.tooLong) == 0 {
		return nil
	}
	return &sinks.Error{Verdict: sinks.TooLarge, Reason: b.tooLong[0].Reason, Items: b.tooLong}
}

// format is the srslog.Formatter. Host, tag and content, which are the same for all of a writer's
// messages or plain text, have not what a line needs: encode has made it of the entry.
func (b *batch) format(srslog.Priority, string, string, string) string { return string(b.line) }

// octetFramer does what srslog.RFC5425MessageLengthFramer does, in half of the time: that one formats
// the whole message with fmt.
func octetFramer(message string) string {
	var digits [20]byte
	return string(strconv.AppendInt(digits[:0], int64(len(message)), 10)) + " " + message
}

func newlineFramer(message string) string { return message + "\n" }

// frames is the connection that srslog writes to: it only collects.
type frames struct {
	data []byte // the batch so far; owned by the batch
}

func (f *frames) Write(p []byte) (int, error) {
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *frames) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (f *frames) Close() error                     { return nil }
func (f *frames) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f *frames) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (f *frames) SetDeadline(time.Time) error      { return nil }
func (f *frames) SetReadDeadline(time.Time) error  { return nil }
func (f *frames) SetWriteDeadline(time.Time) error { return nil }
