package audit

import (
	"encoding/hex"
	"slices"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// checked holds what the signatures of checkpoints have proven so far.
type checked struct {
	through uint64   // sequence of the last valid checkpoint; 0 for none
	damages int      // damage that was found up to there
	proven  []string // what it proves of the records up to there
}

// inspectCheckpoint verifies a checkpoint and the records since the one before it.
func (w *walk) inspectCheckpoint(n uint64, r *replay.Record) {
	if w.checker.Keys == nil || r.Detail == nil {
		return
	}
	signed := new(schema.Totals)
	if err := readSigned(w.checker.Keys, r.Detail.Signature, schema.SignedCheckpoint, signed); err != nil {
		what := "the checkpoint is not signed"
		if r.Detail.Signature != "" {
			what = "the signature of the checkpoint: " + err.Error()
		}
		w.at(Signature, n, r, what)
		return
	}
	switch {
	case signed.Operation != w.session.Operation.ID:
		w.at(Signature, n, r, "the signature of the checkpoint belongs to another session, operation "+shortID(signed.Operation))
		return
	case signed.Sequence != n:
		w.at(Signature, n, r, "the signature of the checkpoint is for another record")
		return
	case w.isOwn(w.start.signed) && signed.OperationDigest != schema.FieldsDigest(w.start.signed).String():
		w.at(Signature, n, r, "the signature of the checkpoint belongs to another session with the same ID")
		return
	}
	first := w.checked.through + 1
	proven := w.provenBy(first, signed)
	if w.fields != nil && (!w.fine || w.restart(signed) != nil) { // nothing later proves the times before
		w.fields = nil
	}
	w.checked.through, w.checked.damages, w.checked.proven = n, w.damages(), proven
}

// provenBy compares the digests of all records so far with signed ones, and returns what they
// prove. first is the first record that no signature before covers. A mismatch that other damage
// explains is no finding of its own.
func (w *walk) provenBy(first uint64, signed *schema.Totals) (proven []string) {
	explained := w.damages() > w.checked.damages || w.damagedChain()
	differ := func(what string) {
		if !explained {
			w.add(Finding{Kind: Changed, First: first, Last: signed.Sequence, What: what})
		}
	}
	if w.chain.bytesKnown {
		if hex.EncodeToString(w.chain.bytes.Sum(nil)) == signed.Digest {
			proven = append(proven, provenBytes)
		} else {
			differ("their bytes and digests are consistent, but not the signed ones")
			w.mended = true
		}
	}
	if w.chain.textKnown && hex.EncodeToString(w.chain.text.Sum(nil)) == signed.TextDigest {
		proven = append(proven, provenTexts)
	}
	if len(proven) > 0 {
		proven = append(proven, provenOrder)
	}
	if w.fieldsProven(signed, differ) {
		proven = append(proven, provenWhen)
	}
	return proven
}

// fieldsProven reports whether the digests of fields and timing are the signed ones; differ is
// called with a description if they are not.
func (w *walk) fieldsProven(signed *schema.Totals, differ func(what string)) bool {
	if w.fields == nil || !w.fine || signed.FieldsDigest == "" {
		return false
	}
	fields, timing := w.fields.Sums()
	switch {
	case fields.String() != signed.FieldsDigest:
		differ("the time, the stream, the event or a detail of at least one of these records is not the signed one")
	case w.timed && timing.String() != signed.TimingDigest:
		differ("the timing of at least one of these records is not the signed one")
	default:
		return w.timed || w.all.Has(replay.LostLog)
	}
	return false
}

// restart begins the digests of fields and timing again with those that a checkpoint signed.
func (w *walk) restart(signed *schema.Totals) error {
	var fields, timing schema.Digest
	if _, err := hex.Decode(fields[:], []byte(signed.FieldsDigest)); err != nil || len(signed.FieldsDigest) != 2*len(fields) {
		return errOtherUse
	}
	if _, err := hex.Decode(timing[:], []byte(signed.TimingDigest)); err != nil || len(signed.TimingDigest) != 2*len(timing) {
		return errOtherUse
	}
	w.fields.Restart(fields, timing)
	return nil
}

// checkFields compares the digests of fields and timing with those that the end signed.
func (w *walk) checkFields() {
	if w.totals == nil {
		return
	}
	explained := w.damages() > w.checked.damages || w.damagedChain()
	ok := w.fieldsProven(w.totals, func(what string) {
		if !explained {
			w.add(Finding{Kind: Changed, First: w.checked.through + 1, Last: w.totals.Sequence, What: what})
		}
	})
	if ok {
		w.result.Proven = append(w.result.Proven, provenWhen)
	}
}

// checkCut completes the result of a session without an end: checkpoints prove its records up to
// the last of them.
func (w *walk) checkCut() {
	c := &w.checked
	onlyCut := !slices.ContainsFunc(w.result.Findings, func(f Finding) bool { return f.Kind.Damage() && f.Kind != NoEnd })
	if w.end != nil || c.through == 0 || len(c.proven) == 0 || !onlyCut {
		return
	}
	w.result.Proven = append(w.result.Proven, c.proven...)
	w.result.ProvenThrough = c.through
}

// damages returns the number of findings so far that are damage.
func (w *walk) damages() (n int) {
	for _, f := range w.result.Findings {
		if f.Kind.Damage() {
			n++
		}
	}
	return n
}
