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

// inspect looks at a record by itself, and at what it has in common with the others.
func (w *walk) inspect(n uint64, r *replay.Record) {
	changed := func(what string) { w.at(Changed, n, r, what) }
	for _, fault := range r.Faults {
		changed(fault)
	}
	if names := differences(r.Operation, &w.common); len(names) > 0 {
		changed("of the operation it says something else than the other records: " + strings.Join(names, ", "))
	}
	lacks := func(what replay.Lost, name string) {
		if r.Lost.Has(what) && !w.all.Has(what) && !r.Lost.Has(replay.LostByDrain) {
			changed("it has no " + name + ", and others have")
		}
	}
	lacks(replay.LostText, "text")
	switch {
	case (r.Event == schema.EventStart) != (n == 1):
		changed("it is " + article(r.Event) + ", which is the first record and no other")
	case r.Event == schema.EventEnd && n != w.last():
		changed("it is an end, which is the last record and no other")
	}
	if r.Event == schema.EventOutput {
		lacks(replay.LostLog, "bytes")
		lacks(replay.LostTiming, "timing")
		w.inspectOutput(r, changed)
		return
	}
	if len(r.Log) > 0 {
		changed("it is an event, and has bytes that were shown")
	}
	if !tellsEvent(r) {
		changed("it has not what such an event tells")
	} else if !r.Lost.Has(replay.LostText) && !sameEvent(r) {
		changed("its fields and its text contradict each other")
	}
	if r.Event == schema.EventGap || r.Event == schema.EventEnd {
		w.open = [2]bool{}
	}
	if r.Detail != nil && r.Detail.LastSequence != 0 {
		changed("it tells of other records, and can't be in their place")
	}
	w.inspectInput(r, changed)
	if r.Event == schema.EventGap {
		w.at(Gap, n, r, "a gap tells that bytes were not recorded here")
	}
}

// inspectInput checks the input of a session that recorded it against the digest in its end. The
// texts of input records, which the end's signature covers, do not have all bytes.
func (w *walk) inspectInput(r *replay.Record, changed func(string)) {
	switch d := r.Detail; {
	case d == nil:
	case r.Event == schema.EventInput:
		w.input.Write(d.Input)
		w.inputBytes += uint64(len(d.Input))
	case r.Event == schema.EventEnd && d.InputBytes != nil && *d.InputBytes == w.inputBytes && hex.EncodeToString(w.input.Sum(nil)) != d.InputSHA256:
		changed("the input records do not have the bytes of which it has the SHA-256")
	}
}

func article(e schema.Event) string {
	if e == schema.EventStart {
		return "a start"
	}
	return "no start"
}

func (w *walk) inspectOutput(r *replay.Record, changed func(string)) {
	if r.Lost.Has(replay.LostLog) {
		return
	}
	if len(r.Log) == 0 {
		changed("it is output, and has no bytes")
		return
	}
	ended := bytes.HasSuffix(r.Log, []byte("\n"))
	if ended && r.Partial {
		changed("its line ends, and it says that it goes on")
	}
	if w.open[r.Stream] {
		changed("it goes on with a line of which the record before says that it has ended")
	}
	w.open[r.Stream] = !ended && !r.Partial
	if w.session.Operation.Interactive && r.Stream != schema.Stdout {
		changed("it is from another stream than a terminal has")
	}
	if len(r.Timing) > 0 && timed(r.Timing) != len(r.Log) {
		changed("its timing is not that of its bytes")
	}
}

// timed is how many bytes a timing accounts for; -1 where it is none.
func timed(timing []byte) int {
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

// tellsEvent says whether the record of an event has what its text is made of.
func tellsEvent(r *replay.Record) bool {
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
	}
	return false
}

// sameEvent holds an event's fields against its text. What syslog has to alter or cut in them can't
// be; it has text digests.
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

// differences are the names of the fields in which two records say something else of their
// operation.
func differences(a, b *schema.Operation) []string {
	if *a == *b {
		return nil
	}
	var names []string
	for _, f := range []struct{ name, a, b string }{
		{"operation_id", a.ID, b.ID}, {"stack", a.Stack, b.Stack}, {"app", a.App, b.App}, {"app_id", a.AppID, b.AppID}, {"service", a.Service, b.Service}, {"layer", a.Layer, b.Layer},
		{"host", a.Host, b.Host}, {"container", a.Container, b.Container}, {"operation_user_name", a.User.Name, b.User.Name},
		{"operation_user_email", a.User.Email, b.User.Email}, {"APTIBLE_USER_DOCUMENT", a.UserDocument, b.UserDocument},
	} {
		if f.a != f.b {
			names = append(names, f.name)
		}
	}
	return slices.Clip(names)
}
