package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gonum.org/v1/plot"

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
	var s measure.Settings
	flag.IntVar(&s.Records, "records", 500_000, "`RECORDS` of terminal output for each drain (slow drains get a part of them)")
	flag.IntVar(&s.Sessions, "sessions", 64, "`SESSIONS` that the records are of")
	flag.Uint64Var(&s.Seed, "seed", 1, "`SEED` of the terminal output")
	flag.IntVar(&s.Runs, "runs", 3, "`RUNS` of everything, of which the table has the medians")
	flag.IntVar(&s.Echoes, "echoes", 3000, "`BYTES` typed, each when the one before has been echoed")
	flag.Int64Var(&s.CatBytes, "cat", 100<<20, "size in `BYTES` of the file that cat shows")
	flag.IntVar(&s.Terminals, "terminals", 1000, "`SESSIONS` at once, in each of which somebody types")
	flag.DurationVar(&s.Typing, "typing", 20*time.Second, "for how `LONG` they do")
	flag.StringVar(&s.BinaryPath, "ttydrain", "", "the ttydrain `BINARY` to measure; built from this source by default")
	flag.StringVar(&s.Profiles, "cpuprofile", "", "`FOLDER` for a processor profile of the enricher and router of every run")
	flag.StringVar(&s.Base, "dir", "", "`FOLDER` below which the stores are, for a while; /var/lib by default")
	growthFlags(&s.GrowthSettings)
	only := flag.String("only", "", "`NAMES` of what to measure, whole or up to a slash, separated by commas: https, https/ndjson, syslog, elasticsearch, limit, rsyslog, ssh, …, or compare/https/ndjson for all that is compared")
	jsonFile := flag.String("json", "", "`FILE` for everything that was measured, as JSON")
	write := flag.Bool("write", false, "put the tables into README.md and ../README.md, between their markers, and the plots into plots")
	plots := flag.String("plots", "", "`FOLDER` for the plots")
	attack := flag.Bool("availability", false, "attack a server in each way that is known while ten users work, instead of measuring; -only names attacks")
	flag.DurationVar(&s.Attack, "attack", 30*time.Second, "for how `LONG` each attack of -availability lasts")
	again := flag.Bool("record", false, "make the recordings that everything is measured with again, in recordings, and measure nothing")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is not expected: everything is a flag, see -help", flag.Arg(0))
	}
	if *again {
		return corpus.Record(filepath.Join("corpus", "recordings"))
	}
	if s.Profiles != "" {
		if err := os.MkdirAll(s.Profiles, 0o755); err != nil {
			return err
		}
	}
	began := time.Now()
	s.Progress = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	var prefixes []string
	if *only != "" {
		prefixes = strings.Split(*only, ",")
	}
	if *attack {
		return availability.Run(ctx, &s, prefixes)
	}
	results, err := benchmark(ctx, &s, prefixes)
	if err != nil {
		return err
	}
	r := report.New(&s, results)
	fmt.Print(r.Markdown())
	if *jsonFile != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*jsonFile, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if *write {
		*plots = "plots"
	}
	var drawn map[string]*plot.Plot
	if *plots != "" {
		if drawn, err = r.Plots(); err != nil {
			return err
		}
		if err := report.WritePlots(*plots, drawn); err != nil {
			return err
		}
	}
	if !*write {
		return nil
	}
	if err := report.WriteTables(r.Markdown()+report.Images("bench/plots", drawn), filepath.Join("..", "README.md")); err != nil {
		return err
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
		"attacker":  availability.AttackerMain,
		"recording": corpus.RecordMain,
	}
}

// choose returns a function that reports whether a subject is to be measured: where its name, whole
// or up to a slash, or its comparison is in only, or only is empty.
func choose(only []string) func(name string) bool {
	return func(name string) bool {
		return len(only) == 0 || slices.ContainsFunc(only, func(prefix string) bool {
			return strings.HasPrefix(name+"/", prefix+"/") || report.IsCompared(name, prefix)
		})
	}
}

// benchmark measures the chosen subjects in a folder of its own.
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
