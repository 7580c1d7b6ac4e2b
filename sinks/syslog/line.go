package syslog

import (
	"encoding/base64"
	"strconv"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/schema"
)

// maxSequenceID is the greatest sequenceId (RFC 5424 §7.3.1); after it comes 1.
const maxSequenceID = 1<<31 - 1

// An encoder makes messages of records. It is for one goroutine.
type encoder struct {
	token   string // followed by a space, or ""
	element string // structured data with the token in it, or ""
	exact   bool
	text    []byte // the message's text, made safe; reused from line to line

	scratch []byte  // a message that is measured; reused
	parted  []field // of the record that was split last; reused
	parts   []part  // of the record that was split last; reused

	op     *schema.Operation // the operation of the parts below; nil for none
	header []byte            // HOST APP OPERATION_ID, each between spaces
	opened []byte            // the structured data as far as it is of the operation
	lead   []byte            // the part of the message before its text
}

// begin begins a batch. The parts made for an operation of the previous batch are not reused:
// another one may have its address.
func (e *encoder) begin() { e.op = nil }

// of makes the parts that are the same for all messages of an operation.
func (e *encoder) of(op *schema.Operation) {
	e.op = op
	e.header = appendHeader(e.header[:0], op.Host, maxHostname)
	e.header = appendHeader(e.header, op.App, maxAppName)
	e.header = append(appendHeader(e.header, op.ID, maxProcID), ' ')
	e.opened = append(append(e.opened[:0], ' '), e.element...)
	e.opened = appendParam(append(e.opened, `[session@32473`...), "operation_id", op.ID)
	e.lead = append(append(e.lead[:0], e.token...), `operation_id=`...)
	e.lead = append(appendWord(e.lead, op.ID, maxProcID), ' ')
}

// append appends the message of a record, without framing. part is the one that r is the content
// of; nil for a whole record.
func (e *encoder) append(dst []byte, p srslog.Priority, op *schema.Operation, r *schema.Record, part *part) []byte {
	if op != e.op {
		e.of(op)
	}
	text, altered := r.Text, false
	if (part == nil || !part.plain) && !schema.IsPrintable(text) {
		e.text, altered = appendSafe(e.text[:0], text, inMessage)
		text = e.text
	}

	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(p), 10)
	dst = append(dst, ">1 "...)
	dst = append(schema.AppendTime(dst, r.Time)[:len(dst)+len("2006-01-02T15:04:05.000000")], 'Z') // six decimals at the most (RFC 5424 §6)
	dst = append(dst, e.header...)
	dst = appendWord(dst, r.Event.String(), maxMsgID)

	dst = append(dst, e.opened...)
	dst = appendUint(dst, "sequence", r.Sequence)
	dst = appendUint(dst, "offset", r.Offset)
	dst = appendDigest(dst, "digest", r.Digest)
	dst = appendDigest(dst, "text_digest", r.TextDigest)
	if r.Stream == schema.Stderr {
		dst = append(dst, ` stream="stderr"`...)
	}
	if r.Partial {
		dst = append(dst, ` partial="true"`...)
	}
	if altered || part != nil && part.altered {
		dst = append(dst, ` altered="true"`...)
	}
	if part != nil {
		dst = part.appendParams(dst)
	}
	if r.Event > schema.EventGap || r.Event != schema.EventEnd && isSigned(r, part) { // a copy without headers has no MSGID, and the others show by their parameters
		dst = appendParam(dst, "event", r.Event.String())
	}
	if r.Detail != nil {
		dst = appendDetail(dst, r.Detail)
	}
	if e.exact && len(r.Log) > 0 {
		dst = append(dst, ` log_base64="`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Log)
		dst = append(dst, '"')
	}
	if e.exact && len(r.Timing) > 0 {
		dst = appendParam(dst, "timing", r.Timing)
	}
	dst = append(dst, `][meta sequenceId="`...)
	dst = strconv.AppendUint(dst, sequenceID(r.Sequence), 10)
	dst = append(dst, `"] `...)

	dst = append(dst, e.lead...)
	if part != nil {
		dst = append(part.appendNumber(append(dst, "part="...)), ' ')
	}
	return append(dst, text...)
}

// isSigned reports whether a record, of which r may be a part, has a signature.
func isSigned(r *schema.Record, part *part) bool {
	return part != nil && part.signed || r.Detail != nil && r.Detail.Signature != ""
}

func appendOrigin(dst []byte, o *schema.Origin) []byte {
	o.Each(func(name string, value *string) {
		if *value != "" {
			dst = appendParam(dst, name, *value)
		}
	})
	return dst
}

// appendDetail appends the details of an event, under the names that they have in other drains.
func appendDetail(dst []byte, d *schema.Detail) []byte {
	if d.Interactive != nil {
		dst = appendParam(dst, "interactive", strconv.FormatBool(*d.Interactive))
	}
	if d.Width != 0 {
		dst = appendParam(dst, "width", strconv.Itoa(d.Width))
	}
	if d.Height != 0 {
		dst = appendParam(dst, "height", strconv.Itoa(d.Height))
	}
	if d.Command != "" {
		dst = appendParam(dst, "command", d.Command)
	}
	dst = appendOrigin(dst, &d.Origin)
	if d.ExitStatus != nil {
		dst = appendParam(dst, "exit_status", strconv.Itoa(*d.ExitStatus))
	}
	if d.Reason != "" {
		dst = appendParam(dst, "reason", d.Reason)
	}
	if d.EndedBy != "" {
		dst = appendParam(dst, "ended_by", d.EndedBy)
	}
	if d.EndedBecause != "" {
		dst = appendParam(dst, "ended_because", d.EndedBecause)
	}
	if d.Path != "" {
		dst = appendParam(dst, "path", d.Path)
	}
	if d.Direction != "" {
		dst = appendParam(dst, "direction", d.Direction)
	}
	if d.Size != nil {
		dst = appendUint(dst, "size", *d.Size)
	}
	if d.SHA256 != "" {
		dst = appendParam(dst, "sha256", d.SHA256)
	}
	if len(d.Input) > 0 {
		dst = append(dst, ` input_base64="`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, d.Input), '"')
	}
	if d.InputBytes != nil {
		dst = appendUint(dst, "input_bytes", *d.InputBytes)
	}
	if d.InputSHA256 != "" {
		dst = appendParam(dst, "input_sha256", d.InputSHA256)
	}
	if d.Bytes != nil {
		dst = appendUint(dst, "bytes", *d.Bytes)
	}
	if d.LastSequence != 0 {
		dst = appendUint(dst, "last_sequence", d.LastSequence)
	}
	if d.Uncertain {
		dst = appendParam(dst, "uncertain", "true")
	}
	if d.Signature != "" {
		dst = appendParam(dst, "signature", d.Signature)
	}
	return dst
}

// appendParam appends a parameter of structured data (RFC 5424 §6.3.3).
func appendParam[T []byte | string](dst []byte, name string, value T) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	dst, _ = appendSafe(dst, value, inParam)
	return append(dst, '"')
}

func appendUint(dst []byte, name string, value uint64) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	dst = strconv.AppendUint(dst, value, 10)
	return append(dst, '"')
}

func appendDigest(dst []byte, name string, digest schema.Digest) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, `="`...)
	dst = digest.AppendHex(dst)
	return append(dst, '"')
}

// sequenceID returns the sequenceId of a sequence, which counts from 1.
func sequenceID(sequence uint64) uint64 {
	if sequence == 0 {
		return 1 // not a record of ttydrain's
	}
	return (sequence-1)%maxSequenceID + 1
}
