package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A subject is something that is measured.
type subject interface {
	// name is its key in the output, such as "https/ndjson".
	name() string
	// prepare starts what it needs and is not measured. It is a *missingError where this machine
	// does not have that. After an error close is called all the same.
	prepare(ctx context.Context, s *settings) error
	// run measures once. It is a *missingError where this machine can't do it.
	run(ctx context.Context) (sample, error)
	// close ends everything that it started.
	close()
}

// A sample is what one run of a subject gave, by metric.
type sample map[string]float64

// missingError says that something a subject needs is not on this machine.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// failedError says that a program of others did not do its work: it has no figure.
type failedError struct {
	err error
	// output is the end of what it said.
	output string
}

func (e *failedError) Error() string { return "error: " + e.err.Error() }

// A result is what was measured of one subject.
type result struct {
	Subject string   `json:"subject"`
	Missing string   `json:"missing,omitempty"`
	Samples []sample `json:"samples,omitempty"`
	// Curves are those of the last run, by name, where the subject has some.
	Curves map[string]curve `json:"curves,omitempty"`
}

// settings are for the whole of a benchmark.
type settings struct {
	base      string // folder in which dir is; "" for one of the system's
	dir       string // for files that do not outlive it
	seed      uint64
	records   int // of each drain, or a part of them
	sessions  int
	runs      int
	echoes    int
	catBytes  int64
	ttydrain  string // a binary; "" to build it
	profiles  string // folder for processor profiles, or ""
	progress  func(format string, args ...any)
	terminals int           // at once
	typing    time.Duration // how long people type in them
	attack    time.Duration // how long each attack lasts
	growthSettings
}

// A group is measured in rounds: each subject once in every round, in turn, so that whatever else
// goes on on the machine concerns all alike.
type group []subject

// measure runs the groups one after the other. Only subjects that are named in only are measured,
// by the whole name or the parts of it up to a slash; all where there is none.
func measure(ctx context.Context, groups []group, s *settings, only []string) ([]result, error) {
	var all []result
	for _, g := range groups {
		g = slices.DeleteFunc(slices.Clone(g), func(one subject) bool {
			return len(only) > 0 && !slices.ContainsFunc(only, func(chosen string) bool {
				return strings.HasPrefix(one.name()+"/", chosen+"/") || isCompared(one.name(), chosen)
			})
		})
		results, err := g.measure(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

func (g group) measure(ctx context.Context, s *settings) ([]result, error) {
	results := make([]result, len(g))
	for i, one := range g {
		results[i].Subject = one.name()
		defer one.close()
		err := one.prepare(ctx, s)
		if missing, ok := errors.AsType[*missingError](err); ok {
			results[i].Missing = missing.what
			s.progress("%s: not measured: %s", one.name(), missing.what)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", one.name(), err)
		}
	}
	for round := range s.runs {
		for i, one := range g {
			if results[i].Missing != "" {
				continue
			}
			got, err := one.run(ctx)
			if missing, ok := errors.AsType[*missingError](err); ok {
				results[i].Missing = missing.what
				s.progress("%s: not measured: %s", one.name(), missing.what)
				continue
			}
			if failed, ok := errors.AsType[*failedError](err); ok && ctx.Err() == nil {
				s.progress("%s: %v; its output:\n%s", one.name(), failed, failed.output)
				results[i].Missing, results[i].Samples = failed.Error(), nil
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("run %s: %w", one.name(), err)
			}
			s.progress("%s, run %d of %d: %s", one.name(), round+1, s.runs, got)
			results[i].Samples = append(results[i].Samples, got)
			if d, ok := one.(drawn); ok {
				results[i].Curves = d.curves()
			}
		}
	}
	return results, nil
}

func (s sample) String() string {
	var parts []string
	for name, v := range s {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, v))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// median of a metric over the runs; ok is false where it was not measured.
func (r result) median(metric string) (v float64, ok bool) {
	var all []float64
	for _, s := range r.Samples {
		if v, ok := s[metric]; ok {
			all = append(all, v)
		}
	}
	return median(all)
}

func median(all []float64) (v float64, ok bool) {
	if len(all) == 0 {
		return 0, false
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}
