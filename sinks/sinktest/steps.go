package sinktest

import (
	"context"
	"slices"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// These checks hold a sink to reporting the steps of a connectivity check: see [sinks.Try].

func (s *suite) testStepsOfProbe(t *testing.T) {
	steps, ok := s.try(t, nil)
	if !ok {
		t.Fatalf("the probe of a good drain failed: %+v", steps)
	}
	s.checkSteps(t, steps, probe.Acceptance, probe.ResultNotTried)
	if got := s.Received(t, 0); len(got) != 0 {
		t.Fatalf("the probe wrote %d records", len(got))
	}
}

func (s *suite) testStepsOfWrite(t *testing.T) {
	batch := s.entries(1)
	steps, ok := s.try(t, &batch[0])
	if !ok {
		t.Fatalf("a good drain takes no record: %+v", steps)
	}
	s.checkSteps(t, steps, "", "")
	s.holds(t, expected(batch), 1)
}

func (s *suite) testStepsToNothing(t *testing.T) {
	s.cut()
	steps, ok := s.try(t, &s.entries(1)[0])
	if ok {
		t.Fatalf("a drain that is not there takes a record: %+v", steps)
	}
	broken := probe.TCP
	if s.Local != nil {
		broken = s.Local.Step
		s.mend(t)
	}
	s.checkSteps(t, steps, broken, probe.ResultFailed)
}

func (s *suite) try(t *testing.T, record *sinks.Entry) ([]probe.Step, bool) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return sinks.Try(ctx, s.Sink, record)
}

// checkSteps expects one step of each kind in their order: those before the named one went well, it
// has the result, and those after it were not tried. Without a name, all went well. Steps that only
// one kind of sink has are ignored.
func (s *suite) checkSteps(t *testing.T, steps []probe.Step, name, result string) {
	t.Helper()
	order := []string{probe.DNS, probe.TCP, probe.TLS, probe.Authentication, probe.Acceptance}
	if s.Local != nil {
		order = []string{s.Local.Step, probe.Acceptance}
	}
	steps = slices.DeleteFunc(slices.Clone(steps), func(step probe.Step) bool { return !slices.Contains(order, step.Name) })
	var names []string
	for _, step := range steps {
		names = append(names, step.Name)
	}
	if !slices.Equal(names, order) {
		t.Fatalf("the steps are %q, want %q", names, order)
	}
	named := slices.Index(order, name)
	for i, step := range steps {
		good := step.Result == probe.ResultOK || step.Result == probe.ResultWarning
		switch {
		case step.Result == probe.ResultWarning || step.Result == probe.ResultFailed:
			if step.Problem == "" || step.Do == "" {
				t.Errorf("step %s does not say what is wrong and what to do: %+v", step.Name, step)
			}
		case step.Problem != "" || step.Do != "":
			t.Errorf("step %s has a problem and is %q: %+v", step.Name, step.Result, step)
		}
		switch {
		case i == named:
			if step.Result != result {
				t.Errorf("step %s is %q, want %q: %+v", step.Name, step.Result, result, step)
			}
		case named >= 0 && i > named:
			if step.Result != probe.ResultNotTried {
				t.Errorf("step %s is %q although one before it failed", step.Name, step.Result)
			}
		case step.Name == probe.Authentication && named >= 0: // some drains show it only when a record is written
		case !good:
			t.Errorf("step %s is %q: %+v", step.Name, step.Result, step)
		}
		if wantPeer := step.Name != probe.Acceptance && s.Proxy != nil; wantPeer && step.Peer != s.Proxy.Address() {
			t.Errorf("step %s is about %q, and the drain is at %s", step.Name, step.Peer, s.Proxy.Address())
		}
		if step.Name == probe.TLS && step.Result == probe.ResultOK && len(step.Certificates) == 0 && len(step.Facts) == 0 {
			t.Errorf("step %s tells nothing of TLS", step.Name)
		}
	}
}
