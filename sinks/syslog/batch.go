package syslog

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"time"
	"unsafe"

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
	line       []byte       // room for the framing and the message; reused from line to line
	framed     []byte       // of line: what the formatter gives
	newline    bool         // the framing
	tooLong    []sinks.Item // the entries that the last encode left out
}

func newBatch(o Options) (*batch, error) {
	b := &batch{priority: o.priority(), maxMessage: o.MaxMessageBytes, encoder: encoder{exact: o.Exact}, newline: o.Framing == Newline}
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
	b.writer.SetFramer(func(framed string) string { return framed })
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
		b.frames.data = sinks.Room(b.frames.data, i, len(entries), math.MaxInt)
		p := b.priority
		if entry.Record.Event == schema.EventGap && p&7 > srslog.LOG_WARNING {
			p = p&^7 | srslog.LOG_WARNING
		}
		for x := whole; ; x++ {
			b.line = b.encoder.append(append(b.line[:0], room...), p, entry.Operation, entry.Record, x)
			if b.fits() || x == withoutLog || !b.encoder.exact {
				break
			}
		}
		if !b.fits() {
			b.tooLong = append(b.tooLong, sinks.Item{Index: i, Verdict: sinks.TooLarge,
				Reason: fmt.Sprintf("not sent: its message has %d bytes, and the drain takes %d", b.size(), b.maxMessage)})
			continue
		}
		b.frame()
		// frames takes everything, so there is no error, and srslog never connects anew.
		b.writer.WriteWithPriority(p, nil)
	}
	return b.frames.data
}

// size is that of the message in bytes, without framing.
func (b *batch) size() int { return len(b.line) - len(room) }

func (b *batch) fits() bool { return b.maxMessage == 0 || b.size() <= b.maxMessage }

// room is as much as the framing in front of a message needs: the digits of any length and a space.
const room = "                     "

// frame makes b.framed of b.line: octet counting (RFC 6587 §3.4.1), or a newline at the end (§3.4.2).
func (b *batch) frame() {
	if b.newline {
		b.line = append(b.line, '\n')
		b.framed = b.line[len(room):]
		return
	}
	var digits [20]byte
	size := strconv.AppendInt(digits[:0], int64(b.size()), 10)
	start := len(room) - 1 - len(size)
	copy(b.line[start:], size)
	b.line[len(room)-1] = ' '
	b.framed = b.line[start:]
}

// refused is the error for what encode left out; nil for nothing.
func (b *batch) refused() error {
	if len(b.tooLong) == 0 {
		return nil
	}
	return &sinks.Error{Verdict: sinks.TooLarge, Reason: b.tooLong[0].Reason, Items: b.tooLong}
}

// format is the srslog.Formatter. Host, tag and content, which are the same for all of a writer's messages or plain text, have not
// what a line needs: encode has made it of the entry, and framed it, since each string on the way would cost a copy. srslog
// keeps this one no longer than until frames has it.
func (b *batch) format(srslog.Priority, string, string, string) string {
	return unsafe.String(unsafe.SliceData(b.framed), len(b.framed))
}

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
