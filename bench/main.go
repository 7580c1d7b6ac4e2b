// Command bench measures ttydrain: README.md tells what, and how.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gonum.org/v1/plot"
)

func main() {
	if childMain() {
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
	var s settings
	flag.IntVar(&s.records, "records", 500_000, "`RECORDS` of terminal output for each drain (slow drains get a part of them)")
	flag.IntVar(&s.sessions, "sessions", 64, "`SESSIONS` that the records are of")
	flag.Uint64Var(&s.seed, "seed", 1, "`SEED` of the terminal output")
	flag.IntVar(&s.runs, "runs", 3, "`RUNS` of everything, of which the table has the medians")
	flag.IntVar(&s.echoes, "echoes", 3000, "`BYTES` typed, each when the one before has been echoed")
	flag.Int64Var(&s.catBytes, "cat", 100<<20, "size in `BYTES` of the file that cat shows")
	flag.IntVar(&s.terminals, "terminals", 1000, "`SESSIONS` at once, in each of which somebody types")
	flag.DurationVar(&s.typing, "typing", 20*time.Second, "for how `LONG` they do")
	flag.StringVar(&s.ttydrain, "ttydrain", "", "the ttydrain `BINARY` to measure; built from this source by default")
	flag.StringVar(&s.profiles, "cpuprofile", "", "`FOLDER` for a processor profile of the enricher and router of every run")
	flag.StringVar(&s.base, "dir", "", "`FOLDER` below which the stores are, for a while; /var/lib by default")
	s.growthSettings.flags()
	only := flag.String("only", "", "`NAMES` of what to measure, whole or up to a slash, separated by commas: https, https/ndjson, syslog, elasticsearch, limit, rsyslog, ssh, …, or compare/https/ndjson for all that is compared")
	jsonFile := flag.String("json", "", "`FILE` for everything that was measured, as JSON")
	write := flag.Bool("write", false, "put the tables into README.md and ../README.md, between their markers, and the plots into plots")
	plots := flag.String("plots", "", "`FOLDER` for the plots")
	availability := flag.Bool("availability", false, "attack a server in each way that is known while ten users work, instead of measuring; -only names attacks")
	flag.DurationVar(&s.attack, "attack", 30*time.Second, "for how `LONG` each attack of -availability lasts")
	again := flag.Bool("record", false, "make the recordings that everything is measured with again, in recordings, and measure nothing")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is not expected: everything is a flag, see -help", flag.Arg(0))
	}
	if *again {
		return record("recordings")
	}
	if s.profiles != "" {
		if err := os.MkdirAll(s.profiles, 0o755); err != nil {
			return err
		}
	}
	began := time.Now()
	s.progress = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	var prefixes []string
	if *only != "" {
		prefixes = strings.Split(*only, ",")
	}
	if *availability {
		return runAvailability(ctx, &s, prefixes)
	}
	results, err := benchmark(ctx, &s, prefixes)
	if err != nil {
		return err
	}
	r := newReport(&s, results)
	fmt.Print(r.markdown())
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
		if drawn, err = r.plots(); err != nil {
			return err
		}
		if err := writePlots(*plots, drawn); err != nil {
			return err
		}
	}
	if !*write {
		return nil
	}
	if err := writeTables(r.markdown()+images("bench/plots", drawn), filepath.Join("..", "README.md")); err != nil {
		return err
	}
	return writeTables(r.markdown()+images("plots", drawn), "README.md")
}

// benchmark measures what is chosen in a folder of its own.
func benchmark(ctx context.Context, s *settings, only []string) (results []result, err error) {
	err = inFolder(s, func() error {
		measured, err := measure(ctx, append(comparisonGroups(), drains(), profiles(), sshServers()), s, only)
		if err != nil {
			return err
		}
		many, err := measureSessions(ctx, s, only)
		if err != nil {
			return err
		}
		grown, err := growth(ctx, s, only)
		results = append(append(measured, many...), grown...)
		return err
	})
	return results, err
}

// inFolder calls do while s.dir is a folder of its own.
func inFolder(s *settings, do func() error) error {
	// A session has a /tmp and a /var/tmp of its own and, where this is root, is nobody: the file that
	// cat shows must be elsewhere, and not in root's home.
	var err error
	base := cmp.Or(s.base, "/var/lib")
	if s.base == "" && os.Geteuid() != 0 {
		if base, err = os.UserCacheDir(); err != nil {
			return err
		}
	}
	if s.dir, err = os.MkdirTemp(base, "ttydrain-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	return do()
}
