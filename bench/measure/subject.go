package measure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Subject is one thing that is measured, such as a drain or a peer.
type Subject interface {
	// Name returns its key in the output, such as "https/ndjson".
	Name() string
	// Prepare starts the processes that are not measured. It returns a [*MissingError] if this machine
	// lacks something. Close is called after an error too.
	Prepare(ctx context.Context, s *Settings) error
	// Run measures once. It returns a [*MissingError] if this machine cannot do it.
	Run(ctx context.Context) (Sample, error)
	// Close stops everything that Prepare started.
	Close()
}

// A Sample has the values of one run, by metric.
type Sample map[string]float64

func (s Sample) String() string {
	var parts []string
	for name, v := range s {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, v))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// A MissingError reports that something that a subject needs is missing on this machine. The
// subject is then not measured.
type MissingError struct{ what string }

// Missing returns a [*MissingError] with a formatted message.
func Missing(format string, args ...any) error { return &MissingError{fmt.Sprintf(format, args...)} }

func (e *MissingError) Error() string { return e.what }

// A FailedError reports that a measured program failed. The subject then has no figure.
type FailedError struct {
	Err error
	// Output is the end of the program's output.
	Output string
}

func (e *FailedError) Error() string { return "error: " + e.Err.Error() }

// A Group is measured in rounds: each subject once per round, in turn, so that other load on the
// machine affects all of them alike.
type Group []Subject

// Run measures the groups one after the other: of each the subjects whose names are chosen.
func Run(ctx context.Context, groups []Group, s *Settings, chosen func(name string) bool) ([]Result, error) {
	var all []Result
	for _, g := range groups {
		g = slices.DeleteFunc(slices.Clone(g), func(one Subject) bool {
			return !chosen(one.Name())
		})
		results, err := g.measure(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

// measure prepares the subjects of a group and measures them in rounds.
func (g Group) measure(ctx context.Context, s *Settings) ([]Result, error) {
	results := make([]Result, len(g))
	for i, one := range g {
		results[i].Subject = one.Name()
		defer one.Close()
		err := one.Prepare(ctx, s)
		if missing, ok := errors.AsType[*MissingError](err); ok {
			results[i].Missing = missing.what
			s.Progress("%s: not measured: %s", one.Name(), missing.what)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", one.Name(), err)
		}
	}
	for round := range s.Runs {
		for i, one := range g {
			if results[i].Missing != "" {
				continue
			}
			got, err := one.Run(ctx)
			if missing, ok := errors.AsType[*MissingError](err); ok {
				results[i].Missing = missing.what
				s.Progress("%s: not measured: %s", one.Name(), missing.what)
				continue
			}
			if failed, ok := errors.AsType[*FailedError](err); ok && ctx.Err() == nil {
				s.Progress("%s: %v; its output:\n%s", one.Name(), failed, failed.Output)
				results[i].Missing, results[i].Samples = failed.Error(), nil
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("run %s: %w", one.Name(), err)
			}
			s.Progress("%s, run %d of %d: %s", one.Name(), round+1, s.Runs, got)
			results[i].Samples = append(results[i].Samples, got)
			if d, ok := one.(drawn); ok {
				results[i].Curves = d.Curves()
			}
		}
	}
	return results, nil
}
