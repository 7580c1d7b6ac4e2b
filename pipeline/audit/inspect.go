package audit

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// inspect checks a record's fields by themselves and against the other records.
func (w *walk) inspect(n uint64, r *replay.Record) {
	changed := func(what string) { w.at(Changed, n, r, what) }
	for _, fault := range r.Faults {
		changed(fault)
	}
	w.inspectShown(r, changed)
	for _, what := range r.Form {
		w.addForm(n, r, what)
	}
	if names := differences(r.Operation, &w.common); len(names) > 0 {
		changed("its operation differs from that of the other records: " + strings.Join(names, ", "))
	}
	lacks := func(what replay.Lost, name string) {
		if r.Lost.Has(what) && !w.all.Has(what) && !r.Lost.Has(replay.LostByDrain) {
			changed("it has no " + name + ", unlike other records")
		}
	}
	lacks(replay.LostText, "text")
	switch {
	case (r.Event == schema.EventStart) != (n == 1):
		changed("the first record, and no other, must be a start")
	case r.Event == schema.EventEnd && n != w.last():
		changed("only the last record can be an end")
	}
	if r.Event == schema.EventOutput {
		lacks(replay.LostLog, "bytes")
		lacks(replay.LostTiming, "timing")
		w.inspectOutput(r, changed)
		return
	}
	if r.Event == schema.EventStart {
		w.inspectStart(r, changed)
	}
	if len(r.Log) > 0 {
		changed("it is an event but has output bytes")
	}
	if !hasEventFields(r) {
		changed("it lacks fields of its event")
	} else if !r.Lost.Has(replay.LostText) && !sameEvent(r) {
		changed("its fields and its text contradict each other")
	}
	if r.Event == schema.EventGap || r.Event == schema.EventEnd {
		w.complete = [2]*replay.Record{}
	}
	if r.Detail != nil && r.Detail.LastSequence != 0 {
		changed("it is a gap of other records and cannot replace them")
	}
	w.inspectInput(r, changed)
	if r.Event == schema.EventCheckpoint {
		w.inspectCheckpoint(n, r)
	}
	if r.Event == schema.EventGap {
		if problem := w.gapProblem(r, new(schema.GapClaim)); problem != "" {
			w.at(Signature, n, r, problem)
		}
		w.at(Gap, n, r, "a gap record reports that bytes were not recorded")
	}
}

// addForm notes that a record deviates from the form of records.
func (w *walk) addForm(n uint64, r *replay.Record, what string) {
	f, again := w.forms[what]
	if !again {
		place := r.Place
		f = Finding{Kind: Form, First: n, Place: &place, What: what}
	}
	f.Last = n
	w.forms[what] = f
}

// inspectInput verifies recorded input against its digest in the end. The signature of the end
// covers the texts of input records, but the texts do not contain all bytes.
func (w *walk) inspectInput(r *replay.Record, changed func(string)) {
	switch d := r.Detail; {
	case d == nil:
	case r.Event == schema.EventInput:
		w.input.Write(d.Input)
		w.inputBytes += uint64(len(d.Input))
	case r.Event == schema.EventEnd && d.InputBytes != nil && *d.InputBytes == w.inputBytes && hex.EncodeToString(w.input.Sum(nil)) != d.InputSHA256:
		changed("its SHA-256 of the input is not that of the input records")
	}
}

func (w *walk) inspectOutput(r *replay.Record, changed func(string)) {
	if r.Lost.Has(replay.LostLog) {
		return
	}
	if len(r.Log) == 0 {
		changed("it is output but has no bytes")
		return
	}
	ended := bytes.HasSuffix(r.Log, []byte("\n"))
	if ended && r.Partial {
		changed("it is marked partial although its line ends")
	}
	if before := w.complete[r.Stream]; before != nil {
		w.at(Changed, before.Sequence, before, "it is not marked partial although the next record continues its line")
	}
	if w.complete[r.Stream] = nil; !ended && !r.Partial {
		w.complete[r.Stream] = r
	}
	if w.session.Operation.Interactive && r.Stream != schema.Stdout {
		changed("a session with a terminal has no such stream")
	}
	if len(r.Timing) > 0 && timedBytes(r.Timing) != len(r.Log) {
		changed("its timing does not match its bytes")
	}
}

// timedBytes returns the number of bytes in a timing, or -1 if it is malformed.
func timedBytes(timing []byte) int {
	sum := 0
	for pair := range bytes.SplitSeq(timing, []byte(" ")) {
		delay, count, ok := bytes.Cut(pair, []byte(":"))
		if _, err := strconv.ParseUint(string(delay), 10, 63); err != nil || !ok {
			return -1
		}
		n, err := strconv.Atoi(string(count))
		if err != nil || n < 1 {
			return -1
		}
		sum += n
	}
	return sum
}

// hasEventFields reports whether an event's record has the fields from which its text is generated.
func hasEventFields(r *replay.Record) bool {
	d := r.Detail
	if d == nil {
		return false
	}
	switch r.Event {
	case schema.EventStart:
		return d.Interactive != nil
	case schema.EventResize:
		return d.Width != 0 || d.Height != 0
	case schema.EventGap:
		return d.Bytes != nil
	case schema.EventEnd:
		return d.Bytes != nil && d.Reason != ""
	case schema.EventInput:
		return len(d.Input) > 0
	case schema.EventTransfer:
		return d.Path != ""
	case schema.EventCheckpoint:
		return true
	}
	return false
}

// sameEvent compares an event's fields with its text. Fields that syslog has altered or truncated
// cannot be compared; there, the text digests cover them.
func sameEvent(r *replay.Record) bool {
	d := r.Detail
	for _, field := range []string{d.Command, d.Reason, d.EndedBy, d.EndedBecause, d.Path} {
		if r.Lost.Has(replay.LostTextDigest) {
			break
		}
		if strings.Contains(field, "\ufffd") || strings.HasSuffix(field, "…") {
			return true
		}
	}
	return bytes.Equal(enrich.EventText(r.Event, d), r.Text)
}

// documentField is the name of the user document.
const documentField = "APTIBLE_USER_DOCUMENT"

// A field is a named value.
type field struct{ name, value string }

// operationFields returns the fields of an operation that every record has in JSON.
func operationFields(op *schema.Operation) []field {
	return []field{
		{"operation_id", op.ID}, {"stack", op.Stack}, {"app", op.App}, {"app_id", op.AppID}, {"service", op.Service}, {"layer", op.Layer},
		{"host", op.Host}, {"container", op.Container}, {"operation_user_name", op.User.Name}, {"operation_user_email", op.User.Email},
		{documentField, op.UserDocument},
	}
}

// differences returns the names of the fields in which two operations differ.
func differences(a, b *schema.Operation) []string {
	if *a == *b {
		return nil
	}
	var names []string
	other := operationFields(b)
	for i, f := range operationFields(a) {
		if f.value != other[i].value {
			names = append(names, f.name)
		}
	}
	return slices.Clip(names)
}
