package probe

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Names of steps, in their order. A sink may add its own between [Authentication] and [Acceptance];
// one that connects to nothing has only those and Acceptance.
const (
	Settings       = "settings" // only where they make no sink
	DNS            = "DNS"
	TCP            = "TCP"
	Proxy          = "proxy" // only where there is one
	TLS            = "TLS"
	Authentication = "authentication"
	Acceptance     = "acceptance"
)

// Results of a step.
const (
	ResultOK       = "ok"
	ResultWarning  = "warning"   // it works, and an operator should look at it
	ResultFailed   = "failed"    // nothing is delivered until an operator has done something
	ResultNotTried = "not tried" // a step before it failed, or nothing could be found out
)

// warnDays is the number of days before the end of a certificate from which on there is a warning.
const warnDays = 30

// A Step is the result of one part of a connectivity check. It has no secrets, and no control
// characters, although the drain may have written parts of it.
type Step struct {
	Name string `json:"step"`
	// Peer is the address (host:port) that it is about; "" for the drain as a whole.
	Peer   string `json:"peer,omitempty"`
	Result string `json:"result"`
	// Milliseconds is the duration, where it was measured.
	Milliseconds float64 `json:"milliseconds,omitzero"`
	// Facts are sentences on the findings.
	Facts []string `json:"facts,omitempty"`
	// Certificates is the drain's chain, its own first, and ClientCertificates the chain that was
	// sent to it.
	Certificates       []Certificate `json:"certificates,omitempty"`
	ClientCertificates []Certificate `json:"client_certificates,omitempty"`
	// Problem is the reason of a failure or warning, and Do the advice; otherwise both are "".
	Problem string `json:"problem,omitempty"`
	Do      string `json:"do,omitempty"`
}

// A Certificate has the fields of a certificate that operators look at.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// DaysLeft is the number of whole days until its end; negative after it.
	DaysLeft int `json:"days_left"`
}

// SettingsFailed returns the steps of a check whose sink could not be made.
func SettingsFailed(err error) []Step {
	failed := Step{Name: Settings, Result: ResultFailed, Problem: Printable(err.Error()), Do: "correct the drain's settings, or the files that they name"}
	return append([]Step{failed}, notTried("", networkSteps...)...)
}

// networkSteps are those of a check that fails before anything is connected to.
var networkSteps = []string{DNS, TCP, TLS, Authentication, Acceptance}

// notTried returns steps that were not tried.
func notTried(peer string, names ...string) []Step {
	var steps []Step
	for _, name := range names {
		steps = append(steps, Step{Name: name, Peer: peer, Result: ResultNotTried})
	}
	return steps
}

// Steps returns the steps of the check, after all has ended: with a failure, or well where that is
// nil. wrote means that a record was to be written.
func (r *Recorder) Steps(failed *Failure, wrote bool) []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	acceptance := r.acceptance(failed, wrote)
	var steps []Step
	reachable := failed == nil || len(r.peers) == 0
	for _, p := range r.peers {
		failure := p.failed
		// The error of the whole is a peer's own where there is no other, and after a response
		// where no peer has another.
		if failed != nil && (failure == nil || len(r.peers) == 1 && failed.Status != 0) {
			failure = failed
		}
		found := p.steps(failure, failed == nil && wrote)
		broken := anyFailed(found)
		reachable = reachable || !broken
		if broken && failed == nil { // another peer works
			for i := range found {
				if found[i].Result == ResultFailed {
					found[i].Result = ResultWarning
				}
			}
		}
		if failed == nil && wrote && !broken && p.answer.Status != 0 {
			fact := fmt.Sprintf("%s answered %d %s (%s)", p.name, p.answer.Status, http.StatusText(p.answer.Status), p.answer.Protocol)
			acceptance.Facts = append([]string{fact}, acceptance.Facts...)
		}
		steps = append(steps, found...)
	}
	if len(r.peers) == 0 && len(r.own) == 0 {
		steps = notTried("", networkSteps[:len(networkSteps)-1]...)
	}
	if !reachable || anyFailed(r.own) {
		acceptance = notTried("", Acceptance)[0]
	}
	return append(append(steps, r.own...), acceptance)
}

func anyFailed(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Result == ResultFailed })
}

// acceptance returns the last step. r.mu is held.
func (r *Recorder) acceptance(failed *Failure, wrote bool) Step {
	s := Step{Name: Acceptance}
	switch {
	case failed == nil && wrote:
		s.Result, s.Facts = ResultOK, r.accepted
		if r.warning != nil {
			s.Result = ResultWarning
			s.blame(&Failure{Problem: r.warning.Problem, Advice: r.warning.Advice})
		}
	case failed != nil:
		s.Result = ResultFailed
		s.blame(failed)
	default:
		s.Result, s.Facts = ResultNotTried, []string{"no record was written"}
	}
	return s
}

// blame sets what went wrong.
func (s *Step) blame(f *Failure) {
	s.Problem, s.Do = f.Problem, f.Advice
	if f.Err != nil {
		s.Problem += " (" + f.Err.Error() + ")"
	}
	s.Problem, s.Do = Printable(s.Problem), Printable(s.Do)
}

func (s *Step) fact(format string, values ...any) {
	s.Facts = append(s.Facts, Printable(fmt.Sprintf(format, values...)))
}

// setDuration sets the duration of the step.
func (s *Step) setDuration(d time.Duration) {
	s.Milliseconds = float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
