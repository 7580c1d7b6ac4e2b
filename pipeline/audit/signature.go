package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

var errOtherUse = errors.New("it signs something else")

// readSigned verifies a signature of a type and decodes what is signed.
func readSigned(keys *identity.KeySet, signature, typ string, signed any) error {
	found, payload, err := keys.Verify(signature)
	if err != nil {
		return err
	}
	if found != typ || json.Unmarshal(payload, signed) != nil {
		return errOtherUse
	}
	return nil
}

// readTotals verifies the signature of an end and returns the totals.
func readTotals(keys *identity.KeySet, signature string) (*schema.Totals, error) {
	t := new(schema.Totals)
	if err := readSigned(keys, signature, schema.SignedEnd, t); err != nil {
		return nil, err
	}
	return t, nil
}

// findEnd finds the end record. If there are several, it prefers one whose signature is for this
// session.
func (w *walk) findEnd() {
	for i, r := range w.records {
		if r.Event != schema.EventEnd {
			continue
		}
		if w.checker.Keys == nil || r.Detail == nil {
			w.end = r
			continue
		}
		t, err := readTotals(w.checker.Keys, r.Detail.Signature)
		if err != nil || t.Operation != w.session.Operation.ID {
			if w.totals == nil {
				w.end = r
			}
			continue
		}
		w.totals, w.end = t, r
		if r.Sequence != t.Sequence { // the signed sequence is authoritative
			w.at(Changed, t.Sequence, r, "its sequence is not the signed one")
			moved := *r
			moved.Sequence = t.Sequence
			w.records[i], w.end = &moved, &moved
		}
	}
	sortRecords(w.records)
}

// finish adds the findings about the session as a whole.
func (w *walk) finish() {
	for i, r := range w.records {
		if !w.used[i] {
			w.extra(r.Sequence, r)
		}
	}
	for _, b := range w.broken {
		w.add(Finding{Kind: Changed, First: b.Sequence, Last: b.Sequence, Place: &b.Place, What: "unreadable: " + b.What})
	}
	if w.end == nil {
		w.noEnd()
	} else {
		w.signature()
	}
	for _, what := range slices.Sorted(maps.Keys(w.forms)) {
		w.add(w.forms[what])
	}
	w.checkStart()
	w.document()
	w.checkFields()
	proven := slices.Contains(w.result.Proven, provenBytes) || slices.Contains(w.result.Proven, provenTexts)
	if proven {
		w.result.Proven = append(w.result.Proven, provenOrder)
	}
	w.checkCut()
	if w.end == nil || w.isDamaged() {
		return
	}
	if w.checker.Keys == nil {
		w.add(Finding{Kind: Unproven, First: 1, Last: w.last(), What: "signatures were not verified"})
	} else if !proven {
		w.add(Finding{Kind: Unproven, First: max(w.deadAt, 1), Last: w.last(), What: "they cannot be proven, since earlier data is missing"})
	}
}

// noEnd adds the finding for a session without an end.
func (w *walk) noEnd() {
	last := uint64(0)
	for i, r := range w.records {
		if w.used[i] {
			last = r.Sequence
		}
	}
	for _, g := range w.gaps {
		if g.Detail.LastSequence > last {
			w.addGap(max(g.Sequence, last+1), g.Detail.LastSequence, g)
			return
		}
	}
	f := Finding{Kind: NoEnd, First: last + 1, Last: last + 1, What: "the session has no end"}
	if w.checker.Runs != nil && w.checker.Runs(w.session.Operation.ID) {
		f.Kind, f.What = Running, "the session has not ended yet"
	}
	if w.chain.offsetKnown {
		offset := w.chain.offset
		f.Offset = &offset
	}
	w.add(f)
}

// signature compares the signed totals with the records.
func (w *walk) signature() {
	end := w.end
	n := end.Sequence
	if w.checker.Keys == nil || end.Detail == nil {
		return
	}
	if w.totals == nil {
		w.at(Signature, n, end, w.invalidSignature())
		return
	}
	t := w.totals
	if end.Detail.Bytes == nil || *end.Detail.Bytes != t.Bytes {
		w.at(Changed, n, end, "its number of bytes is not the signed one")
	}
	if end.Digest.String() != t.Digest {
		w.at(Changed, n, end, "its digest is not the signed one")
	}
	if !end.Lost.Has(replay.LostTextDigest) && end.TextDigest.String() != t.TextDigest {
		w.at(Changed, n, end, "its text digest is not the signed one")
	}
	if w.chain.offsetKnown && !w.damagedChain() && w.chain.offset != t.Bytes {
		w.at(Changed, n, end, "the previous records do not add up to the signed number of bytes")
	}
	if w.chain.bytesKnown {
		if hex.EncodeToString(w.chain.bytes.Sum(nil)) == t.Digest {
			w.result.Proven = append(w.result.Proven, provenBytes)
		} else if !w.damagedChain() {
			w.mended = true
			w.add(Finding{Kind: Changed, First: 1, Last: n, What: "their bytes and digests are consistent, but not the signed ones"})
		}
	}
	if w.chain.textKnown {
		switch {
		case hex.EncodeToString(w.chain.text.Sum(nil)) == t.TextDigest:
			w.result.Proven = append(w.result.Proven, provenTexts)
		case w.damagedChain():
		case end.Lost.Has(replay.LostTextDigest):
			w.texts(t.TextDigest)
		default:
			w.add(Finding{Kind: Changed, First: 1, Last: n, What: "their texts and digests are consistent, but not the signed ones"})
		}
	}
}

// damagedChain reports whether known damage explains that the totals differ.
func (w *walk) damagedChain() bool {
	for _, f := range w.result.Findings {
		if f.Kind == Missing || f.Kind == Foreign || f.Kind == Gap && f.First != f.Last {
			return true
		}
	}
	return w.mended
}

// invalidSignature describes the problem with the end's signature.
func (w *walk) invalidSignature() string {
	signature := w.end.Detail.Signature
	if signature == "" {
		return "the end is not signed"
	}
	t, err := readTotals(w.checker.Keys, signature)
	if err != nil {
		return "the signature of the end: " + err.Error()
	}
	return "the signature of the end belongs to another session, operation " + shortID(t.Operation)
}

// shortID returns an ID in a form that is safe for a finding. IDs of ttydrain are numbers.
func shortID(id string) string {
	for _, c := range id {
		if c < '0' || c > '9' {
			return "?"
		}
	}
	return id[:min(len(id), 20)]
}

// document verifies the user document.
func (w *walk) document() {
	document := w.common.UserDocument
	if w.checker.Keys == nil || w.lost.Has(replay.LostOperation) {
		return
	}
	if document == "" {
		w.add(Finding{Kind: Signature, What: "the user document is missing"})
		return
	}
	typ, payload, err := w.checker.Keys.Verify(document)
	if err == nil && strings.HasPrefix(typ, "ttydrain-") {
		err = errOtherUse
	}
	if err != nil {
		w.add(Finding{Kind: Signature, What: "the user document: " + err.Error()})
		return
	}
	var claims struct{ Name, Email string }
	if json.Unmarshal(payload, &claims) != nil || claims.Name != w.common.User.Name || claims.Email != w.common.User.Email {
		w.add(Finding{Kind: Changed, First: 1, Last: w.records[len(w.records)-1].Sequence, What: "the user differs from the one in the user document"})
	}
}
