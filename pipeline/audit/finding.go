package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// Kind is the kind of a finding.
type Kind string

// Kinds of damage: the copy is altered or incomplete.
const (
	Missing   Kind = "missing"   // the records First to Last are missing, and no gap reports that
	Added     Kind = "added"     // an additional record with this sequence
	Changed   Kind = "changed"   // the record is altered
	Reordered Kind = "reordered" // the record that belongs here has another sequence
	Foreign   Kind = "foreign"   // the record belongs to another session
	Signature Kind = "signature" // the end or the user document lacks a valid signature by a key of the set
	NoEnd     Kind = "no_end"    // the session has no end, and is not running
)

// Kinds that are not damage.
const (
	Gap      Kind = "gap"      // a gap record reports that something was not recorded or not delivered
	Unproven Kind = "unproven" // nothing in the copy proves the records First to Last
	Running  Kind = "running"  // the session has not ended yet
	Form     Kind = "form"     // records have fields that nothing proves, or lack fields that say nothing of the session
)

// Damage reports whether findings of this kind are damage.
func (k Kind) Damage() bool { return k != Gap && k != Unproven && k != Running && k != Form }

// Finding is one result of the audit of a session.
type Finding struct {
	Kind Kind `json:"kind"`
	// First and Last are sequences, which count from 1; both are 0 for the session as a whole.
	First uint64 `json:"first_sequence"`
	Last  uint64 `json:"last_sequence"`
	// Offset is the position within the session's bytes; nil if unknown.
	Offset *uint64 `json:"offset,omitempty"`
	// Place is the position within the copy; nil for missing records.
	Place *replay.Place `json:"place,omitempty"`
	What  string        `json:"what"`
}

// String returns the finding in a line: its kind, the records, their position in the session and in
// the copy, and the reason. Parts of it are the copy's own text, and are not printable if that is
// not.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(string(f.Kind), "_", " "))
	switch {
	case f.First == 0 && f.Last == 0:
	case f.First == f.Last:
		fmt.Fprintf(&b, ": record %d", f.First)
	default:
		fmt.Fprintf(&b, ": records %d to %d", f.First, f.Last)
	}
	if f.Offset != nil {
		fmt.Fprintf(&b, ", at byte %d", *f.Offset)
	}
	if f.Place != nil {
		fmt.Fprintf(&b, ", in %s", f.Place)
	}
	return b.String() + ": " + f.What
}

// Verdict summarizes the audit of a session.
type Verdict string

const (
	Intact     Verdict = "intact"     // complete, and as recorded and signed
	Damaged    Verdict = "damaged"    // at least one finding is damage
	Incomplete Verdict = "incomplete" // no damage, but not everything is present or proven: see the findings, such as Running or Gap
)

// Result is the result of the audit of a session.
type Result struct {
	Operation string    `json:"operation_id"`
	App       string    `json:"app"`
	User      string    `json:"user"` // name and e-mail address; "" if the copy does not contain them
	Started   time.Time `json:"started,omitzero"`
	// Signed are the fields of the operation as the start signs them, by their names in
	// [schema.Operation.Fields]; nil without a valid signature.
	Signed  map[string]string `json:"-"`
	Verdict Verdict           `json:"verdict"`
	// Complete reports that all records are present, from the start to the end, and that nothing
	// was lost before. Intact reports that the records that are present are unaltered.
	Complete bool `json:"complete"`
	Intact   bool `json:"intact"`
	// Proven lists what signatures prove of this copy, in this order: "who" opened the session,
	// "where" it ran, "when" everything happened, the "bytes", the "texts", and the "order" of the
	// records.
	Proven []string `json:"proven"`
	// ProvenThrough is the sequence up to which Proven holds, in a session without an end; 0 for all.
	ProvenThrough uint64    `json:"proven_through,omitempty"`
	Records       int       `json:"records"`
	Repeats       int       `json:"repeats"`
	Findings      []Finding `json:"findings"`
}

// maxFindings is the maximum number of findings per session. The last one then reports that there
// are more.
const maxFindings = 1000

// What signatures can prove of a copy.
const (
	provenWho   = "who"
	provenWhere = "where"
	provenWhen  = "when"
	provenBytes = "bytes"
	provenTexts = "texts"
	provenOrder = "order"
)

// provable is what signatures can prove, in the order of [Result.Proven].
var provable = []string{provenWho, provenWhere, provenWhen, provenBytes, provenTexts, provenOrder}

// judge derives the verdict from the findings.
func (r *Result) judge() {
	r.Complete, r.Intact, r.Verdict = true, true, Intact
	for _, f := range r.Findings {
		switch f.Kind {
		case Missing, NoEnd:
			r.Complete = false
			r.Verdict = Damaged
		case Gap, Running:
			r.Complete = false
		case Unproven, Form:
		default:
			r.Intact = false
		}
		if f.Kind.Damage() {
			r.Verdict = Damaged
		} else if r.Verdict == Intact {
			r.Verdict = Incomplete
		}
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if r.Proven == nil || r.Verdict == Damaged && r.ProvenThrough == 0 {
		r.Proven = []string{}
	}
	slices.SortFunc(r.Proven, func(a, b string) int { return slices.Index(provable, a) - slices.Index(provable, b) })
}
