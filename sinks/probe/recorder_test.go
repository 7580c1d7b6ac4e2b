package probe

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// summary returns the names and results of steps.
func summary(steps []Step) string {
	var all []string
	for _, s := range steps {
		all = append(all, s.Name+" "+s.Result)
	}
	return strings.Join(all, ", ")
}

// TestSteps checks the steps of sinks that report in different ways.
func TestSteps(t *testing.T) {
	failure := &Failure{Problem: "write: the disk is full", Advice: "free disk space", Err: errors.New("no space")}
	own := func(result string) Step { return Step{Name: "folder", Result: result} }
	for name, test := range map[string]struct {
		report []Finding
		failed *Failure
		wrote  bool
		want   string
	}{
		"nothing is reported":     {nil, failure, true, "DNS not tried, TCP not tried, TLS not tried, authentication not tried, acceptance failed"},
		"no record":               {[]Finding{own(ResultOK)}, nil, false, "folder ok, acceptance not tried"},
		"own step":                {[]Finding{own(ResultOK)}, nil, true, "folder ok, acceptance ok"},
		"own step, failed write":  {[]Finding{own(ResultOK)}, failure, true, "folder ok, acceptance failed"},
		"own step failed":         {[]Finding{own(ResultFailed)}, failure, true, "folder failed, acceptance not tried"},
		"accepted with a warning": {[]Finding{own(ResultOK), Warning{Problem: "it is not found", Advice: "look"}}, nil, true, "folder ok, acceptance warning"},
	} {
		t.Run(name, func(t *testing.T) {
			r := new(Recorder)
			report := From(r.Context(t.Context()))
			for _, f := range test.report {
				report.Report(f)
			}
			if got := summary(r.Steps(test.failed, test.wrote)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestFailureOfOnePeer: where another address works, a failure is a warning; a later success
// revokes it.
func TestFailureOfOnePeer(t *testing.T) {
	r := new(Recorder)
	ctx := r.Context(t.Context())
	broken := From(From(ctx).Connect(ctx, "a.example.com:443", true))
	broken.Report(Failure{Problem: "nothing listens there", Advice: "start the drain"})
	From(From(ctx).Connect(ctx, "127.0.0.1:80", false)).Report(StatusLine{Status: 200, Protocol: "HTTP/1.1"})
	steps := r.Steps(nil, false)
	if i := slices.IndexFunc(steps, func(s Step) bool { return s.Result == ResultWarning }); i < 0 || steps[i].Peer != "a.example.com:443" || steps[i].Do != "start the drain" {
		t.Errorf("the steps are %+v", steps)
	}
	broken.Report(Failure{})
	for _, s := range r.Steps(nil, false) {
		if s.Result == ResultWarning || s.Result == ResultFailed {
			t.Errorf("after the failure was revoked: %+v", s)
		}
	}
}

// TestDiscard: without a check, and in a quiet context, nothing is recorded.
func TestDiscard(t *testing.T) {
	r := new(Recorder)
	ctx := r.Context(t.Context())
	for name, report := range map[string]Reporter{"no check": From(t.Context()), "quiet": From(Quiet(ctx))} {
		if report.Enabled() || report.Connect(ctx, "a:1", true) != ctx {
			t.Errorf("%s: the reporter records", name)
		}
		report.Report(Fact{Step: Acceptance, Text: "x"})
	}
	if !From(ctx).Enabled() || r.Addresses() != 0 || len(r.accepted) != 0 {
		t.Errorf("the recorder has %d addresses, %q", r.Addresses(), r.accepted)
	}
}
