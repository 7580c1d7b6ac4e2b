package audit

import (
	"regexp"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// signsGaps reports whether the gaps of a session are signed: its start is, and no older enricher
// has continued it.
func (w *walk) signsGaps() bool {
	if w.checker.Keys == nil || w.totals != nil && w.totals.FieldsDigest == "" {
		return false
	}
	return w.totals != nil || w.isOwn(w.start.signed)
}

// drainName is the form of a drain's name that a finding may quote.
var drainName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// checkGaps selects the gaps of undelivered records that count, and adds findings for the others.
func (w *walk) checkGaps() {
	for _, g := range w.session.Gaps {
		var claim schema.GapClaim
		if problem := w.gapProblem(g, &claim); problem != "" {
			w.at(Signature, g.Sequence, g, problem)
			continue
		}
		if w.signsGaps() {
			w.inspectGap(g)
		}
		w.gaps = append(w.gaps, g)
		if drainName.MatchString(claim.Drain) {
			w.drains[g] = claim.Drain
		}
	}
}

// gapProblem returns why a gap record does not count; "" if it does. It sets claim to what is
// signed.
func (w *walk) gapProblem(g *replay.Record, claim *schema.GapClaim) string {
	switch {
	case !w.signsGaps():
		return ""
	case g.Detail == nil || g.Detail.Signature == "":
		return "the gap is not signed"
	}
	if err := readSigned(w.checker.Keys, g.Detail.Signature, schema.SignedGap, claim); err != nil {
		return "the signature of the gap: " + err.Error()
	}
	stated := schema.ClaimOf(w.session.Operation.ID, claim.Drain, &g.Record)
	if g.Lost.Has(replay.LostTextDigest) {
		stated.TextDigest = claim.TextDigest
	}
	if g.Lost.Has(replay.LostTime) && w.all.Has(replay.LostTime) || !g.Lost.Has(replay.LostTime) && g.Time%1e6 == 0 && stated.Time == claim.Time/1000*1000 { // rounded to milliseconds
		stated.Time = claim.Time
	}
	if stated != *claim {
		return "the gap is not as it was signed"
	}
	return ""
}

// inspectGap checks what the signature of a gap of undelivered records does not cover.
func (w *walk) inspectGap(g *replay.Record) {
	changed := func(what string) { w.at(Changed, g.Sequence, g, what) }
	for _, fault := range g.Faults {
		changed(fault)
	}
	for _, what := range g.Form {
		w.addForm(g.Sequence, g, what)
	}
	if names := differences(g.Operation, &w.common); len(names) > 0 {
		changed("its operation differs from that of the other records: " + strings.Join(names, ", "))
	}
	d := g.Detail
	expected := schema.Gap{
		First: g.Sequence, Last: d.LastSequence, Offset: g.Offset, End: g.Offset + g.Span(), Uncertain: d.Uncertain, Skipped: d.Reason == schema.GapSkipped,
	}
	if text := expected.Record().Text; !g.Lost.Has(replay.LostText) && string(text) != string(g.Text) {
		changed("its fields and its text contradict each other")
	}
	if len(g.Log)+len(g.Timing) > 0 || g.Stream != schema.Stdout || g.Partial {
		changed("it is an event but has fields of output")
	}
}
