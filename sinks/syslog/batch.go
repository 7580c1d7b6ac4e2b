package syslog

import (
	"cmp"
	"fmt"
	"math"
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
	encoder    encoder
	newline    bool   // the framing
	relp       bool   // instead of a framing
	data       []byte // the framed messages
	ends       []int  // in data: the end of the messages of each entry
	frames     []int  // in data: the end of each frame, for RELP alone
	// transaction is that of the next frame of RELP. It is set before encode.
	transaction int
	tooLong     []sinks.Item // the entries that the last encode left out: no part of them fits
}

func newBatch(o Options) *batch {
	b := &batch{priority: o.priority(), maxMessage: cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes), encoder: encoder{exact: o.Exact}, newline: o.Framing == Newline, relp: o.Protocol == RELP}
	switch {
	case o.TokenEnterprise != 0:
		b.encoder.element = fmt.Sprintf("[%s@%d]", o.Token, o.TokenEnterprise)
	case o.Token != "":
		b.encoder.token = o.Token + " "
	}
	return b
}

// encode returns the framed messages of the entries, except for those in tooLong. They are valid
// until the next call.
func (b *batch) encode(entries []sinks.Entry) []byte {
	if cap(b.data) > maxKept {
		b.data = nil
	}
	b.data, b.ends, b.frames = b.data[:0], b.ends[:0], b.frames[:0]
	b.tooLong = nil
	b.encoder.begin()
	for i, entry := range entries {
		b.data = sinks.GrowForBatch(b.data, i, len(entries), math.MaxInt)
		p := b.priority
		if entry.Record.Event == schema.EventGap && p&7 > srslog.LOG_WARNING {
			p = p&^7 | srslog.LOG_WARNING
		}
		if !b.encodeWhole(p, entry) && !b.encodeParts(p, entry) {
			b.tooLong = append(b.tooLong, sinks.Item{Index: i, Verdict: sinks.TooLarge, Advice: "raise max_message_bytes",
				Reason: fmt.Sprintf("not sent: what each part of its message repeats leaves no room within %d bytes", b.maxMessage)})
		}
		b.ends = append(b.ends, len(b.data))
	}
	return b.data
}

// encodeWhole encodes a record as one message. It reports whether the message is short enough, and
// leaves nothing otherwise.
func (b *batch) encodeWhole(p srslog.Priority, entry sinks.Entry) bool {
	if len(entry.Record.Text) > b.maxMessage {
		return false
	}
	start := len(b.data)
	data := b.encoder.append(append(b.data, frameSpace...), p, entry.Operation, entry.Record, nil)
	if size := len(data) - start - len(frameSpace); size > b.maxMessage {
		b.data = data[:start]
		return false
	}
	b.data = data
	b.frame(start)
	return true
}

// encodeParts encodes a record that is too long for one message as several. It reports whether each
// of them fits.
func (b *batch) encodeParts(p srslog.Priority, entry sinks.Entry) bool {
	parts := b.encoder.split(p, entry.Operation, entry.Record, b.maxMessage)
	for i := range parts {
		start := len(b.data)
		b.data = b.encoder.append(append(b.data, frameSpace...), p, entry.Operation, &parts[i].record, &parts[i])
		b.frame(start)
	}
	b.encoder.release()
	return len(parts) > 0
}

// frameSpace is as long as the framing before most messages.
const frameSpace = "000 "

// frame puts the framing around the message at the end of the data, which has frameSpace before it
// from start on: octet counting (RFC 6587 §3.4.1), a newline at the end (§3.4.2), or a frame of
// RELP.
func (b *batch) frame(start int) {
	size := int64(len(b.data) - start - len(frameSpace))
	var count [48]byte
	var front []byte
	switch {
	case b.relp:
		front = append(strconv.AppendInt(count[:0], int64(b.transaction), 10), " syslog "...)
		front = append(strconv.AppendInt(front, size, 10), ' ')
		b.data = append(b.data, '\n')
		b.transaction++
	case b.newline:
		b.data = append(b.data, '\n')
	default:
		front = append(strconv.AppendInt(count[:0], size, 10), ' ')
	}
	b.data = slices.Replace(b.data, start, start+len(frameSpace), front...)
	if b.relp {
		b.frames = append(b.frames, len(b.data))
	}
}

// refused returns the error for the entries that encode left out; nil for none.
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
