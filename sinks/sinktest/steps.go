package sinktest

import (
	"context"
	"slices"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
)

// These hold a sink to telling the steps of its way: see [sinks.Try].

func (s *suite) testStepsOfProbe(t *testing.T) {
	steps, ok := s.try(t, nil)
	if !ok {
		t.Fatalf("the probe of a good drain failed: %+v", steps)
	}
	s.checkSteps(t, steps, sinks.StepAcceptance, sinks.StepNotTried)
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
	s.Proxy.Cut()
	steps, ok := s.try(t, &s.entries(1)[0])
	if ok {
		t.Fatalf("a drain that is not there takes a record: %+v", steps)
	}
	s.checkSteps(t, steps, sinks.StepTCP, sinks.StepFailed)
}

func (s *suite) try(t *testing.T, record *sinks.Entry) ([]sinks.Step, bool) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return sinks.Try(ctx, s.Sink, record)
}

// checkSteps wants one step of each kind in their order: those before the named one have gone well,
// it has the result, and those after it were not tried. No name: all went well. A step that only
// one kind of sink has is its own affair.
func (s *suite) checkSteps(t *testing.T, steps []sinks.Step, name, result string) {
	t.Helper()
	steps = slices.DeleteFunc(slices.Clone(steps), func(step sinks.Step) bool { return step.Name == sinks.StepMapping || step.Name == sinks.StepRELP })
	order := []string{sinks.StepDNS, sinks.StepTCP, sinks.StepTLS, sinks.StepAuthentication, sinks.StepAcceptance}
	var names []string
	for _, step := range steps {
		names = append(names, step.Name)
	}
	if !slices.Equal(names, order) {
		t.Fatalf("the steps are %q, want %q", names, order)
	}
	named := slices.Index(order, name)
	for i, step := range steps {
		good := step.Result == sinks.StepOK || step.Result == sinks.StepWarning
		switch {
		case step.Result == sinks.StepWarning || step.Result == sinks.StepFailed:
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
			if step.Result != sinks.StepNotTried {
				t.Errorf("step %s is %q although one before it failed", step.Name, step.Result)
			}
		case step.Name == sinks.StepAuthentication && named >= 0: // not every drain tells before it gets a record
		case !good:
			t.Errorf("step %s is %q: %+v", step.Name, step.Result, step)
		}
		if wantPeer := step.Name != sinks.StepAcceptance; wantPeer && step.Peer != s.Proxy.Address() {
			t.Errorf("step %s is about %q, and the drain is at %s", step.Name, step.Peer, s.Proxy.Address())
		}
		if step.Name == sinks.StepTLS && step.Result == sinks.StepOK && len(step.Certificates) == 0 && len(step.Facts) == 0 {
			t.Errorf("step %s tells nothing of TLS", step.Name)
		}
	}
}
