package syslog

import (
	"encoding/base64"
	"strconv"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxParts bounds the parts of a record.
	maxParts = 99999
	// minPiece is the least room that a part must have left to begin another field in it, unless
	// the part is empty.
	minPiece = 64
)

// A part is one of the messages that carry a record which is too long for one. Each of them repeats
// the header, the digests and the short parameters of the record. The text and the parameters
// without a bound are divided among them, in the order of [encoder.fields]: joined in the order of
// the parts, the pieces of each field are its value.
type part struct {
	number, total int // number counts from 1
	// offset is the number of bytes of all fields in the parts before, without escapes and base64.
	// It keeps the parts of two divisions of one record apart, which a change of the limit causes.
	offset  int
	plain   bool          // the record's text is printable ASCII
	signed  bool          // the record has a signature, in this part or another one
	altered bool          // the record's text is not as it was recorded, in this part or another one
	record  schema.Record // the record with this part's pieces
}

// appendParams appends the parameters of structured data that identify a part.
func (p *part) appendParams(dst []byte) []byte {
	dst = append(p.appendNumber(append(dst, ` part="`...)), '"')
	return appendUint(dst, "part_offset", uint64(p.offset))
}

// appendNumber appends "2/5" for the second of five parts.
func (p *part) appendNumber(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(p.number), 10)
	return strconv.AppendInt(append(dst, '/'), int64(p.total), 10)
}

// A field is a value of a record that has no bound of its own.
type field struct {
	overhead int // bytes that a part needs for it beside the value
	in       quoting
	base64   bool
	plain    bool   // it is printable ASCII, of which nothing has to be escaped
	rest     []byte // what the parts so far do not have
	put      func(r *schema.Record, piece []byte)
}

// take removes a piece from the field that fits into room bytes, and returns it with its written
// and read lengths.
func (f *field) take(room int) (piece []byte, written, read int) {
	n := 0
	switch {
	case f.base64:
		n = min(len(f.rest), max(room, 0)/4*3)
		written, read = base64.StdEncoding.EncodedLen(n), n
	case f.plain:
		n = min(len(f.rest), max(room, 0))
		written, read = n, n
	default:
		n, written, read = fit(f.rest, f.in, room)
	}
	piece, f.rest = f.rest[:n], f.rest[n:]
	return piece, written, read
}

// fields returns the fields of a record that are not empty; plain means that the text is printable
// ASCII. The text comes first: the first parts can then be read as the record's line.
func (e *encoder) fields(r *schema.Record, plain bool) []field {
	fields := e.parted[:0]
	add := func(f field) {
		if len(f.rest) > 0 {
			fields = append(fields, f)
		}
	}
	param := func(name string, value []byte, put func(*schema.Record, []byte)) {
		add(field{overhead: len(name) + len(` =""`), in: inParam, rest: value, put: put})
	}
	add(field{in: inMessage, plain: plain, rest: r.Text, put: func(r *schema.Record, b []byte) { r.Text = b }})
	if d := r.Detail; d != nil {
		param("command", []byte(d.Command), func(r *schema.Record, b []byte) { r.Detail.Command = string(b) })
		param("reason", []byte(d.Reason), func(r *schema.Record, b []byte) { r.Detail.Reason = string(b) })
		param("ended_by", []byte(d.EndedBy), func(r *schema.Record, b []byte) { r.Detail.EndedBy = string(b) })
		param("ended_because", []byte(d.EndedBecause), func(r *schema.Record, b []byte) { r.Detail.EndedBecause = string(b) })
		param("path", []byte(d.Path), func(r *schema.Record, b []byte) { r.Detail.Path = string(b) })
		add(field{overhead: len(` input_base64=""`), base64: true, rest: d.Input, put: func(r *schema.Record, b []byte) { r.Detail.Input = b }})
		param("signature", []byte(d.Signature), func(r *schema.Record, b []byte) { r.Detail.Signature = string(b) })
	}
	if e.exact {
		add(field{overhead: len(` log_base64=""`), base64: true, rest: r.Log, put: func(r *schema.Record, b []byte) { r.Log = b }})
		param("timing", r.Timing, func(r *schema.Record, b []byte) { r.Timing = b })
	}
	e.parted = fields
	return fields
}

// bare returns a copy of a record without its fields.
func bare(r *schema.Record) schema.Record {
	copied := *r
	copied.Text, copied.Log, copied.Timing = nil, nil, nil
	if r.Detail != nil {
		detail := *r.Detail
		detail.Command, detail.Reason, detail.EndedBy, detail.EndedBecause, detail.Signature = "", "", "", "", ""
		detail.Path, detail.Input = "", nil
		copied.Detail = &detail
	}
	return copied
}

// split divides a record into parts whose messages have at most limit bytes. They hold slices of
// the record's bytes, and are valid until the next call. It returns nil where even what each part
// repeats leaves no room for more.
func (e *encoder) split(p srslog.Priority, op *schema.Operation, r *schema.Record, limit int) []part {
	plain, altered := schema.IsPrintable(r.Text), false
	if !plain {
		e.text, altered = appendSafe(e.text[:0], r.Text, inMessage)
	}
	empty := bare(r)
	signed := isSigned(r, nil)
	widest := part{number: maxParts, total: maxParts, offset: 1<<32 - 1, plain: plain, signed: signed, altered: altered}
	e.scratch = e.append(e.scratch[:0], p, op, &empty, &widest)
	room := limit - len(e.scratch)
	fields := e.fields(r, plain)
	parts := e.parts[:0]
	for offset := 0; len(fields) > 0; {
		if len(parts) == maxParts {
			return nil
		}
		parts = append(parts, part{number: len(parts) + 1, offset: offset, plain: plain, signed: signed, altered: altered, record: bare(r)})
		one := &parts[len(parts)-1].record
		left := room
		for len(fields) > 0 && (left == room || left >= fields[0].overhead+minPiece) {
			f := &fields[0]
			piece, written, read := f.take(left - f.overhead)
			if len(piece) == 0 {
				break
			}
			f.put(one, piece)
			left -= f.overhead + written
			offset += read
			if len(f.rest) > 0 {
				break
			}
			fields = fields[1:]
		}
		if left == room {
			return nil
		}
	}
	for i := range parts {
		parts[i].total = len(parts)
	}
	e.parts = parts
	return parts
}

// release forgets the bytes of the record that was split last.
func (e *encoder) release() {
	clear(e.parts[:cap(e.parts)])
	clear(e.parted[:cap(e.parted)])
}
