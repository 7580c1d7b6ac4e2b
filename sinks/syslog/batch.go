package syslog

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// maxKept is the size in bytes of a batch whose buffer is kept for the next one.
const maxKept = 8 << 20

// A batch encodes entries into the bytes of a connection. It is for one goroutine.
type batch struct {
	priority   srslog.Priority
	maxMessage int // in bytes
	writer     *srslog.Writer
	encoder    encoder
	newline    bool   // the framing
	relp       bool   // instead of a framing
	data       []byte // the framed messages
	ends       []int  // in data: where the messages of each entry end
	frames     []int  // in data: where each frame ends, for RELP alone
	// transaction is that of the next frame of RELP. It is set before encode.
	transaction int
	entry       sinks.Entry  // the one that srslog is to write
	part        *part        // the one of it; nil for the whole record
	start       int          // in data: where its message begins, with its framing
	size        int          // of its message in bytes, without framing
	tooLong     []sinks.Item // the entries that the last encode left out: no part of them fits
}

func newBatch(o Options) (*batch, error) {
	b := &batch{priority: o.priority(), maxMessage: cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes), encoder: encoder{exact: o.Exact}, newline: o.Framing == Newline, relp: o.Protocol == RELP}
	switch {
	case o.TokenEnterprise != 0:
		b.encoder.element = fmt.Sprintf("[%s@%d]", o.Token, o.TokenEnterprise)
	case o.Token != "":
		b.encoder.token = o.Token + " "
	}
	var err error
	b.writer, err = srslog.DialWithCustomDialer("custom", o.Address, b.priority, "ttydrain",
		func(string, string) (net.Conn, error) { return unused{}, nil })
	if err != nil {
		return nil, fmt.Errorf("make a syslog writer: %w", err)
	}
	// The host name of a message is that of its record. One that is set keeps srslog from asking
	// the connection for an address.
	b.writer.SetHostname("-")
	b.writer.SetFormatter(b.format)
	b.writer.SetFramer(b.frame)
	return b, nil
}

// encode returns the framed messages of the entries, but of those in tooLong. They are valid until
// the next call.
func (b *batch) encode(entries []sinks.Entry) []byte {
	if cap(b.data) > maxKept {
		b.data = nil
	}
	b.data, b.ends, b.frames = b.data[:0], b.ends[:0], b.frames[:0]
	b.tooLong = nil
	b.encoder.begin()
	for i, entry := range entries {
		b.data = sinks.Room(b.data, i, len(entries), math.MaxInt)
		p := b.priority
		if entry.Record.Event == schema.EventGap && p&7 > srslog.LOG_WARNING {
			p = p&^7 | srslog.LOG_WARNING
		}
		b.entry, b.start, b.size = entry, len(b.data), len(entry.Record.Text)
		frames, transaction := len(b.frames), b.transaction
		if b.size <= b.maxMessage {
			b.writer.WriteWithPriority(p, nil) // to unused: there is no error
		}
		if b.size > b.maxMessage {
			b.data, b.frames, b.transaction = b.data[:b.start], b.frames[:frames], transaction
		}
		if b.size > b.maxMessage && !b.encodeParts(p) {
			b.tooLong = append(b.tooLong, sinks.Item{Index: i, Verdict: sinks.TooLarge,
				Reason: fmt.Sprintf("not sent: what each part of its message repeats leaves no room within %d bytes", b.maxMessage), Advice: "raise max_message_bytes"})
		}
		b.ends = append(b.ends, len(b.data))
	}
	b.entry = sinks.Entry{}
	return b.data
}

// encodeParts encodes a record that is too long for one message as several, from b.start on. It
// reports whether each of them fits.
func (b *batch) encodeParts(p srslog.Priority) bool {
	parts := b.encoder.split(p, b.entry.Operation, b.entry.Record, b.maxMessage)
	for i := range parts {
		b.part = &parts[i]
		b.writer.WriteWithPriority(p, nil) // to unused: there is no error
	}
	b.part = nil
	b.encoder.release()
	return len(parts) > 0
}

// room is as much as the framing in front of most messages needs.
const room = "000 "

// format is the srslog.Formatter. Host, tag and content, which are the same for all of a writer's
// messages or plain text, have not what a line needs, and each string on the way would cost a copy:
// the line is made of the entry, behind those before it, and what srslog has to write is nothing.
func (b *batch) format(p srslog.Priority, _, _, _ string) string {
	b.start = len(b.data)
	r := b.entry.Record
	if b.part != nil {
		r = &b.part.record
	}
	b.data = b.encoder.append(append(b.data, room...), p, b.entry.Operation, r, b.part)
	b.size = len(b.data) - b.start - len(room)
	return ""
}

// frame is the srslog.Framer, likewise: octet counting (RFC 6587 §3.4.1), a newline at the end
// (§3.4.2), or a frame of RELP.
func (b *batch) frame(string) string {
	var count [48]byte
	var front []byte
	switch {
	case b.relp:
		front = append(strconv.AppendInt(count[:0], int64(b.transaction), 10), " syslog "...)
		front = append(strconv.AppendInt(front, int64(b.size), 10), ' ')
		b.data = append(b.data, '\n')
		b.transaction++
	case b.newline:
		b.data = append(b.data, '\n')
	default:
		front = append(strconv.AppendInt(count[:0], int64(b.size), 10), ' ')
	}
	b.data = slices.Replace(b.data, b.start, b.start+len(room), front...)
	if b.relp {
		b.frames = append(b.frames, len(b.data))
	}
	return ""
}

// refused is the error for what encode left out; nil for nothing.
func (b *batch) refused() error {
	if len(b.tooLong) == 0 {
		return nil
	}
	return &sinks.Error{Verdict: sinks.TooLarge, Reason: b.tooLong[0].Reason, Advice: b.tooLong[0].Advice, Items: b.tooLong}
}

// confirmed returns how many entries have all their messages in the first n bytes of data.
func (b *batch) confirmed(n int) int {
	if n <= 0 { // the first entries can have no messages: they are too long
		return 0
	}
	entries, _ := slices.BinarySearch(b.ends, n+1)
	return entries
}

// unconfirmed returns the error for a batch of which the drain has the first entries, and not the
// others.
func (b *batch) unconfirmed(failure *sinks.Error, first int) *sinks.Error {
	if first == 0 {
		return failure
	}
	partly := *failure
	left := b.tooLong
	for i := range b.ends {
		tooLong := len(left) > 0 && left[0].Index == i
		switch {
		case tooLong:
			partly.Items = append(partly.Items, left[0])
			left = left[1:]
		case i >= first:
			partly.Items = append(partly.Items, sinks.Item{Index: i, Verdict: failure.Verdict, Reason: failure.Reason, Advice: failure.Advice})
		}
	}
	return &partly
}

// unused is the connection of srslog's writer, which gets nothing to write.
type unused struct{ net.Conn }

func (unused) Write(p []byte) (int, error) { return len(p), nil }
func (unused) Close() error                { return nil }
