package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// A profiled subject is a drain with a processor profile, in which the processor time is parted by
// what it was used for. It is measured by itself, since profiling takes time too.
type profiled struct{ *drain }

const (
	profilePrefix = "profile/"
	profileShare  = "percent_of_processor_time: " // and the part
)

func profiles() group {
	return group{
		profiled{&drain{key: "https/ndjson", share: fast, receiving: httpReceiver, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: "ndjson"}}}},
		profiled{&drain{key: "https/json", share: slower, receiving: httpReceiver, setup: pipelineSetup{Drain: drainSetup{Type: "https", Format: "json"}}}},
		profiled{&drain{key: "syslog", share: fast, receiving: syslogReceiver, setup: pipelineSetup{Drain: drainSetup{Type: "syslog"}}}},
	}
}

func (p profiled) name() string { return profilePrefix + p.key }

func (p profiled) prepare(ctx context.Context, s *settings) error {
	own := *s
	if own.profiles == "" {
		own.profiles = s.dir
	}
	return p.drain.prepare(ctx, &own)
}

func (p profiled) run(ctx context.Context) (sample, error) {
	file := p.settings.profile(p.key, p.runs)
	if _, err := p.drain.run(ctx); err != nil {
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

// A part is what processor time is used for: all below the innermost function whose name begins so.
type part struct {
	title    string
	prefixes []string
}

const (
	ofTTYDrain = "github.com/ttydrain/ttydrain/"
	otherPart  = "other"
)

// parts are what a stack is looked through for, from its innermost function on.
func parts() []part {
	return []part{
		{"TLS", []string{"crypto/tls."}},
		{"HTTP", []string{"net/http."}},
		{"SHA-256", []string{"crypto/internal/fips140/sha256.", "crypto/sha256."}},
		{"NATS server", []string{"github.com/nats-io/nats-server/"}},
		{"NATS client", []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats%2ego"}},
		{"texts", []string{ofTTYDrain + "enrich.(*terminal)", ofTTYDrain + "enrich.(*row)", ofTTYDrain + "enrich.scan", ofTTYDrain + "enrich.isStill"}},
		{"enriching", []string{ofTTYDrain + "enrich."}},
		{"segments, chunks", []string{ofTTYDrain + "schema.AppendSegment", ofTTYDrain + "schema.(*Decoder)", ofTTYDrain + "schema.DecodeChunk"}},
		{"encoding", []string{ofTTYDrain + "schema.", ofTTYDrain + "sinks/"}},
		{"pipeline", []string{ofTTYDrain + "pipeline"}},
		{"collecting garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssistAlloc"}},
		{"scheduling", []string{"runtime.mcall", "runtime.mstart", "runtime.systemstack", "runtime.goexit"}},
	}
}

// shares parts a profile, in per cent.
func shares(p *profile.Profile) sample {
	all := parts()
	value := len(p.SampleType) - 1 // nanoseconds
	s := make(sample)
	var sum float64
	for _, one := range p.Sample {
		title := otherPart
	stack:
		for _, at := range one.Location {
			for _, line := range at.Line {
				i := slices.IndexFunc(all, func(c part) bool {
					return slices.ContainsFunc(c.prefixes, func(prefix string) bool { return strings.HasPrefix(line.Function.Name, prefix) })
				})
				if i >= 0 {
					title = all[i].title
					break stack
				}
			}
		}
		s[profileShare+title] += float64(one.Value[value])
		sum += float64(one.Value[value])
	}
	for metric := range s {
		s[metric] *= 100 / sum
	}
	return s
}

// profileTable writes where the processor time goes.
func (r *report) profileTable(b *strings.Builder) {
	var columns []column
	for _, p := range append(parts(), part{title: otherPart}) {
		columns = append(columns, column{p.title, profileShare + p.title, decimals(1)})
	}
	r.table(b, "Processor time, % of", profilePrefix, columns)
	if b.Len() > 0 && slices.ContainsFunc(r.Results, func(one result) bool { return strings.HasPrefix(one.Subject, profilePrefix) }) {
		b.WriteString("- Each sample of the profile counts for the innermost function on its stack that is of one of these; *texts* is the terminal emulator, *encoding* makes the drain's " +
			"bytes, and system calls count for who makes them.\n")
	}
}
