package audit

import (
	"time"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// A Kind says what was found.
type Kind string

// Damage: somebody or something has changed the copy, or it is not all there.
const (
	Missing   Kind = "missing"   // the records First to Last are not there, and no gap tells so
	Added     Kind = "added"     // there is one record more under this sequence than there was
	Changed   Kind = "changed"   // the record is not as it was recorded
	Reordered Kind = "reordered" // the record that belongs here has another sequence
	Foreign   Kind = "foreign"   // the record is one of another session
	Signature Kind = "signature" // the end or the user document is not signed, or not by a key of the set
	NoEnd     Kind = "no_end"    // the session does not end, and does not run
)

// What is told, and is no damage.
const (
	Gap      Kind = "gap"      // a gap record says that something was not recorded, or not delivered
	Unproven Kind = "unproven" // nothing in the copy proves the records First to Last
	Running  Kind = "running"  // the session has not ended yet
)

// Damage says whether it is damage.
func (k Kind) Damage() bool { return k != Gap && k != Unproven && k != Running }

// A Finding is one thing that was found in a session.
type Finding struct {
	Kind Kind `json:"kind"`
	// First and Last are sequences, which count from 1; both 0 for what concerns the session as a
	// whole.
	First uint64 `json:"first_sequence"`
	Last  uint64 `json:"last_sequence"`
	// Offset is where in the session's bytes it begins; nil where that is not known.
	Offset *uint64 `json:"offset,omitempty"`
	// Place is where in the copy it is; nil for what is not there.
	Place *replay.Place `json:"place,omitempty"`
	What  string        `json:"what"`
}

// A Verdict is what is said of a session in one word.
type Verdict string

const (
	Intact     Verdict = "intact"     // complete, and as it was recorded and signed
	Damaged    Verdict = "damaged"    // there is damage
	Incomplete Verdict = "incomplete" // no damage, and not all of it is there or proven, as the findings say: it runs, or a gap was told
)

// A Result is what is said of a session.
type Result struct {
	Operation string    `json:"operation_id"`
	App       string    `json:"app"`
	User      string    `json:"user"` // name, with the e-mail address; "" where the copy does not tell
	Started   time.Time `json:"started,omitzero"`
	Verdict   Verdict   `json:"verdict"`
	// Complete says that all records are there, from the start to the end, and that nothing was lost
	// on the way. Intact says that what is there is as it was recorded: there is no damage but what is
	// missing.
	Complete bool `json:"complete"`
	Intact   bool `json:"intact"`
	// Proven is what the signature proves of this copy: "bytes", "texts", both or none.
	Proven   []string  `json:"proven"`
	Records  int       `json:"records"`
	Repeats  int       `json:"repeats"`
	Findings []Finding `json:"findings"`
}

// most is how many findings of a session are kept; the last one then says that there are more.
const most = 1000

// judge says what the findings come to.
func (r *Result) judge() {
	r.Complete, r.Intact, r.Verdict = true, true, Intact
	for _, f := range r.Findings {
		switch f.Kind {
		case Missing, NoEnd:
			r.Complete = false
			r.Verdict = Damaged
		case Gap, Running:
			r.Complete = false
		case Unproven:
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
	if r.Proven == nil || r.Verdict == Damaged {
		r.Proven = []string{}
	}
}
