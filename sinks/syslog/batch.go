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
	priority srslog.Priority
	writer   *srslog.Writer
	encoder  encoder
	frames   frames
	entry    sinks.Entry // what the formatter formats
	line     []byte      // what the formatter made; reused from line to line
}

func newBatch(o Options) (*batch, error) {
	b := &batch{priority: o.priority(), encoder: encoder{exact: o.Exact}}
	if o.Token != "" {
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

// encode returns the framed messages of the entries. They are valid until the next call.
func (b *batch) encode(entries []sinks.Entry) []byte {
	if cap(b.frames.data) > maxKept {
		b.frames.data = nil
	}
	b.frames.data = b.frames.data[:0]
	for _, entry := range entries {
		b.entry = entry
		p := b.priority
		if entry.Record.Event == schema.EventGap && p&7 > srslog.LOG_WARNING {
			p = p&^7 | srslog.LOG_WARNING
		}
		// frames takes everything, so there is no error, and srslog never connects anew.
		b.writer.WriteWithPriority(p, nil)
	}
	b.entry = sinks.Entry{} // the caller's
	return b.frames.data
}

// format is the srslog.Formatter. Host, tag and content, which are the same for all of a writer's
// messages or plain text, have not what a line needs: it is made of the entry.
func (b *batch) format(p srslog.Priority, _, _, _ string) string {
	b.line = b.encoder.append(b.line[:0], p, b.entry.Operation, b.entry.Record)
	return string(b.line)
}

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
