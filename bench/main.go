// Command bench measures ttydrain and compares it with other programs. README.md describes what it
// measures and how.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/bench/availability"
	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/growth"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/peers"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/bench/report"
	"github.com/ttydrain/ttydrain/bench/ssh"
)

func main() {
	if process.Main(roles()) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o, err := parseFlags()
	if err != nil {
		return err
	}
	if o.record {
		return corpus.Record(filepath.Join("corpus", "recordings"))
	}
	s := &o.settings
	if s.Profiles != "" {
		if err := os.MkdirAll(s.Profiles, 0o755); err != nil {
			return err
		}
	}
	began := time.Now()
	s.Progress = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	if o.availability {
		return availability.Run(ctx, s, o.only)
	}
	results, err := benchmark(ctx, s, o.only)
	if err != nil {
		return err
	}
	r := report.New(s, results)
	fmt.Print(r.Markdown())
	return write(o, r)
}

// write writes the files that the flags ask for: JSON, plots, and the tables in README.md.
func write(o *options, r *report.Report) error {
	if o.json != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.plots == "" {
		return nil
	}
	drawn, err := r.Plots()
	if err != nil {
		return err
	}
	if err := report.WritePlots(o.plots, drawn); err != nil {
		return err
	}
	if !o.write {
		return nil
	}
	return report.WriteTables(r.Markdown()+report.Images("plots", drawn), "README.md")
}

// roles returns the main functions of the benchmark's child processes.
func roles() map[string]process.Role {
	return map[string]process.Role{
		"receiver":  receivers.Main,
		"witness":   receivers.WitnessMain,
		"pipeline":  drains.Main,
		"flow":      growth.FlowMain,
		"limit":     peers.LimitMain,
		"attacker":  availability.AttackerMain,
		"lines":     peers.LinesMain,
		"recording": corpus.RecordMain,
	}
}

// choose returns a function that reports whether a subject is measured: only is empty, or has its
// name, whole or up to a slash, or its comparison.
func choose(only []string) func(name string) bool {
	return func(name string) bool {
		return len(only) == 0 || slices.ContainsFunc(only, func(prefix string) bool {
			return strings.HasPrefix(name+"/", prefix+"/") || report.IsCompared(name, prefix)
		})
	}
}

// benchmark measures the chosen subjects in a temporary folder.
func benchmark(ctx context.Context, s *measure.Settings, only []string) (results []measure.Result, err error) {
	err = measure.InFolder(s, func() error {
		chosen := choose(only)
		measured, err := measure.Run(ctx, append(peers.Groups(), drains.Uncompared(), drains.Profiled(), ssh.Servers()), s, chosen)
		if err != nil {
			return err
		}
		many, err := ssh.MeasureMany(ctx, s, chosen)
		if err != nil {
			return err
		}
		grown, err := growth.Run(ctx, s, chosen)
		results = append(append(measured, many...), grown...)
		return err
	})
	return results, err
}
