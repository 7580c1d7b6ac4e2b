package drains

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// A profiled drain yields the share of each purpose in its CPU time. It is not compared, since
// profiling takes time too.
type profiled struct{ *Drain }

// Profiled returns the drains that are profiled.
func Profiled() measure.Group {
	return measure.Group{
		profiled{New("https/ndjson", FastShare, receivers.HTTPS, Target{Type: "https", Format: "ndjson"})},
		profiled{New("https/json", SlowerShare, receivers.HTTPS, Target{Type: "https", Format: "json"})},
		profiled{New("syslog", FastShare, receivers.Syslog, Target{Type: "syslog"})},
	}
}

func (p profiled) Name() string { return measure.ProfilePrefix + p.key }

func (p profiled) Prepare(ctx context.Context, s *measure.Settings) error {
	own := *s
	if own.Profiles == "" {
		own.Profiles = s.Dir
	}
	return p.Drain.Prepare(ctx, &own)
}

func (p profiled) Run(ctx context.Context) (measure.Sample, error) {
	file := p.settings.Profile(p.key, p.runs)
	if _, err := p.Drain.Run(ctx); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	defer f.Close()
	read, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("read the profile %s: %w", filepath.Base(file), err)
	}
	return shares(read), nil
}

// shares returns the share of each part in a profile, in per cent.
func shares(p *profile.Profile) measure.Sample {
	all := measure.ProfileParts()
	value := len(p.SampleType) - 1 // nanoseconds
	s := make(measure.Sample)
	var sum float64
	for _, one := range p.Sample {
		title := measure.OtherPart
	stack:
		for _, at := range one.Location {
			for _, line := range at.Line {
				i := slices.IndexFunc(all, func(c measure.ProfilePart) bool {
					return slices.ContainsFunc(c.Prefixes, func(prefix string) bool { return strings.HasPrefix(line.Function.Name, prefix) })
				})
				if i >= 0 {
					title = all[i].Title
					break stack
				}
			}
		}
		s[measure.ProfileShare+title] += float64(one.Value[value])
		sum += float64(one.Value[value])
	}
	for metric := range s {
		s[metric] *= 100 / sum
	}
	return s
}
