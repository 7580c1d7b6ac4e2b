package main

import (
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// options are the values of the flags.
type options struct {
	settings measure.Settings
	only     []string // subjects or attacks; empty for all
	json     string   // file, or ""
	plots    string   // folder, or ""
	write    bool     // update the tables in README.md

	availability, record bool // run attacks, or make the recordings, instead of measuring
}

// parseFlags parses the command line.
func parseFlags() (*options, error) {
	o := new(options)
	s := &o.settings
	flag.IntVar(&s.Records, "records", 500_000, "`RECORDS` of terminal output for each drain (slow drains get a share of them)")
	flag.IntVar(&s.Sessions, "sessions", 64, "number of `SESSIONS` that the records belong to")
	flag.Uint64Var(&s.Seed, "seed", 1, "`SEED` of the terminal output")
	flag.IntVar(&s.Runs, "runs", 3, "`RUNS` of each subject; the tables show their medians")
	flag.IntVar(&s.Echoes, "echoes", 3000, "`BYTES` typed, each after the echo of the one before")
	flag.Int64Var(&s.CatBytes, "cat", 100<<20, "size in `BYTES` of the file that cat shows")
	flag.IntVar(&s.Terminals, "terminals", 1000, "`SESSIONS` open at the same time, with a user typing in each")
	flag.DurationVar(&s.Typing, "typing", 20*time.Second, "`DURATION` for which the users type")
	flag.StringVar(&s.BinaryPath, "ttydrain", "", "ttydrain `BINARY` to measure (default: built from this source)")
	flag.StringVar(&s.Profiles, "cpuprofile", "", "`FOLDER` for CPU profiles of the enricher and router of every run")
	flag.StringVar(&s.Base, "dir", "", "`FOLDER` for the temporary stores (default /var/lib)")
	flag.DurationVar(&s.Attack, "attack", 30*time.Second, "`DURATION` of each attack of -availability")
	flag.DurationVar(&s.LatencyTime, "latency", 15*time.Second, "`DURATION` of the latency measurement")
	flag.IntVar(&s.LiveSessions, "live-sessions", 200, "`SESSIONS` whose latency is measured")
	flag.Float64Var(&s.LiveRate, "live-rate", 10_000, "`LINES` per second that these sessions show in total")
	flag.IntVar(&s.LiveBurst, "live-burst", 10, "`LINES` that each of these sessions shows at once")
	flag.DurationVar(&s.Soak, "soak", time.Minute, "`DURATION` for which a router runs at full load")
	flag.IntVar(&s.Backlog, "backlog", 500_000, "`LINES` that a drain misses while it is down, before it catches up")
	flag.IntVar(&s.GrowthLines, "growth-lines", 1_000_000, "largest number of `LINES` whose cost is measured, from 1,000 in steps of ten")
	only := flag.String("only", "", "comma-separated `NAMES` of the subjects to measure, whole or up to a slash: https, https/ndjson, syslog, elasticsearch, limit, rsyslog, ssh, …, or compare/https/ndjson for a whole comparison")
	flag.StringVar(&o.json, "json", "", "`FILE` for all results, as JSON")
	flag.BoolVar(&o.write, "write", false, "update the tables in README.md, between their markers, and the plots in plots")
	flag.StringVar(&o.plots, "plots", "", "`FOLDER` for the plots")
	flag.BoolVar(&o.availability, "availability", false, "attack a server while ten users work, instead of measuring; -only selects attacks")
	flag.BoolVar(&o.record, "record", false, "make the recordings in corpus/recordings again, instead of measuring")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: see -help for the flags", flag.Arg(0))
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if o.write {
		o.plots = "plots"
	}
	return o, nil
}
