package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// start is the signed start of a session.
type start struct {
	record *replay.Record    // the start with the signature; nil for none
	signed map[string]string // the signed operation; nil without a valid signature
	err    error             // why the signature of record is not valid
}

// findStart finds the signed start. If there are several, it prefers one for this session.
func (w *walk) findStart() {
	if w.checker.Keys == nil {
		return
	}
	for _, r := range w.records {
		if r.Event != schema.EventStart || r.Detail == nil || r.Detail.Signature == "" {
			continue
		}
		var read schema.SignedOperation
		err := readSigned(w.checker.Keys, r.Detail.Signature, schema.SignedStart, &read)
		switch {
		case err != nil && w.start.record == nil:
			w.start = start{record: r, err: err}
		case err == nil && (w.start.signed == nil || w.isOwn(read.Operation)):
			w.start = start{record: r, signed: read.Operation}
		}
	}
	if !w.isOwn(w.start.signed) {
		return
	}
	w.fields = schema.NewFieldDigests(schema.FieldsDigest(w.start.signed))
	if len(w.unsigned(&w.common)) > 0 { // rather an operation that is as signed, if a record has it
		for _, r := range w.records {
			if len(w.unsigned(r.Operation)) == 0 {
				w.common = *r.Operation
				break
			}
		}
	}
}

// isOwn reports whether a signed operation is that of the session.
func (w *walk) isOwn(signed map[string]string) bool {
	return signed["operation_id"] != "" && signed["operation_id"] == w.session.Operation.ID
}

// unsigned returns the names of the fields of a record's operation that differ from the signed
// ones, of those that the copy has.
func (w *walk) unsigned(op *schema.Operation) (names []string) {
	signed := w.start.signed
	compare := func(name, value, signed string) {
		if value != signed {
			names = append(names, name)
		}
	}
	switch {
	case w.lost.Has(replay.LostOperation): // syslog
		compare("operation_id", op.ID, signed["operation_id"])
		if !w.lost.Has(replay.LostTime) { // otherwise the header is another one
			compare("host", op.Host, replay.HeaderWord(signed["host"], replay.MaxHeaderHost))
			compare("app", op.App, replay.HeaderWord(signed["app"], replay.MaxHeaderApp))
		}
	case !op.Started.IsZero(): // the stream, which has the whole operation
		fields := op.Fields()
		for name := range fields {
			compare(name, fields[name], signed[name])
		}
	default:
		for _, f := range operationFields(op) {
			if f.name == documentField {
				continue
			}
			compare(f.name, f.value, signed[f.name])
		}
		sum := sha256.Sum256([]byte(op.UserDocument))
		compare(documentField, hex.EncodeToString(sum[:]), signed[schema.FieldDocumentDigest])
	}
	slices.Sort(names)
	return names
}

// inspectStart compares the details of the first record with the signed operation.
func (w *walk) inspectStart(r *replay.Record, changed func(string)) {
	if !w.isOwn(w.start.signed) || r.Detail == nil || r.Lost.Has(replay.LostByDrain) {
		return
	}
	d := r.Detail
	op := schema.Operation{Command: d.Command, Interactive: d.Interactive != nil && *d.Interactive, Width: d.Width, Height: d.Height, Origin: d.Origin}
	fields := op.Fields()
	names := []string{"command", "interactive", "width", "height"}
	op.Origin.Each(func(name string, _ *string) { names = append(names, name) })
	for _, name := range names {
		signed := w.start.signed[name]
		if w.lost.Has(replay.LostOperation) {
			signed = schema.SyslogText(signed)
		}
		if fields[name] != signed {
			changed("its " + name + " is not the signed one")
		}
	}
}

// checkStart adds the findings about the signature of the start, and what it proves.
func (w *walk) checkStart() {
	if w.checker.Keys == nil {
		return
	}
	promised := w.totals != nil && w.totals.OperationDigest != "" // an end whose start is signed
	switch s := w.start; {
	case s.signed != nil && !w.isOwn(s.signed):
		w.at(Signature, s.record.Sequence, s.record, "the signature of the start belongs to another session, operation "+shortID(s.signed["operation_id"]))
	case s.signed != nil && promised && w.totals.OperationDigest != schema.FieldsDigest(s.signed).String():
		w.at(Signature, s.record.Sequence, s.record, "the signature of the start belongs to another session with the same ID")
	case s.signed != nil:
		if names := w.unsigned(&w.common); len(names) > 0 {
			w.add(Finding{Kind: Changed, First: 1, Last: w.records[len(w.records)-1].Sequence, What: "their operation differs from the signed one: " + strings.Join(names, ", ")})
		}
		w.result.Proven = append(w.result.Proven, provenWho, provenWhere)
		w.useSigned()
	case s.record != nil:
		w.at(Signature, s.record.Sequence, s.record, "the signature of the start: "+s.err.Error())
	case promised && len(w.content) > 0 && w.content[0] != nil:
		w.at(Signature, 1, w.content[0], "the start is not signed")
	}
}

// useSigned completes the result with what only the signature has.
func (w *walk) useSigned() {
	signed := w.start.signed
	w.result.Signed = signed
	if w.result.App == "" {
		w.result.App = signed["app"]
	}
	if w.result.User == "" {
		w.result.User = UserText(signed["operation_user_name"], signed["operation_user_email"])
	}
}

// UserText returns a user's name with the e-mail address, if there is one.
func UserText(name, email string) string {
	if email == "" {
		return name
	}
	return name + " <" + email + ">"
}

// addFields adds a record to the digests of fields and timing.
func (w *walk) addFields(r *replay.Record) {
	if w.fields == nil {
		return
	}
	omitted := r.Lost.Has(replay.LostByDrain) && !r.Lost.Has(replay.LostText) // details, by a version before signed starts
	if r.Lost.Has(replay.LostTime) || omitted || w.fields.Add(&r.Record) != nil {
		w.fields = nil
		return
	}
	if r.Event == schema.EventOutput {
		w.timed = w.timed && len(r.Timing) > 0
	}
	w.fine = w.fine || r.Time%1e6 != 0
}

// isDamaged reports whether a finding so far is damage.
func (w *walk) isDamaged() bool {
	return slices.ContainsFunc(w.result.Findings, func(f Finding) bool { return f.Kind.Damage() })
}
