package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// growthHow describes how each metric of package growth is measured.
func growthHow() map[string]string {
	return map[string]string{
		measure.LatencyRate: "records per second that arrived during the measurement",
		measure.LatencyP50:  "median time from the record's own time, at which its first byte came from the terminal, to its arrival at the receiver, both by the clock of this machine",
		measure.LatencyP99:  "the same, 99th percentile", measure.LatencyP999: "the same, 99.9th percentile", measure.LatencyMax: "the longest of all",
		measure.LatencyCPU:                           "user and system time of the process with the sessions' capture, the embedded NATS server, the enricher and the router, for 1,000,000 records",
		measure.LatencyStages + measure.StageCapture: "99th percentile of ttydrain_capture_duration_seconds, from the terminal to the TTY stream: the upper bound of its bucket",
		measure.LatencyStages + measure.StageEnrich:  "the same for ttydrain_enrich_duration_seconds, from the TTY to the LOGS stream",
		measure.LatencyStages + measure.StageRoute:   "the same for ttydrain_drain_route_duration_seconds, from the LOGS stream to the drain's acknowledgement",

		measure.SoakTime: "duration", measure.SoakRate: "records per second that the drain has acknowledged",
		measure.SoakCPU:      "process_cpu_seconds_total of the router, for 1,000,000 records",
		measure.SoakResident: "the maximum of process_resident_memory_bytes of the router, read every second, in megabytes (1,000,000 bytes)",
		measure.SoakMean:     "the mean of the same in the second half of the time", measure.SoakHeap: "the maximum of go_memstats_heap_inuse_bytes",
		measure.SoakSlope: "growth of the resident memory in the second half, in kilobytes per minute, by least squares",

		measure.CatchupBacklog: "records that the drain had missed when it came up", measure.CatchupRate: "these, divided by the time from then to the arrival of the last of them",
		measure.CatchupCPU:    "user and system time of the process with all of ttydrain in that time, including the live traffic, for 1,000,000 of them",
		measure.CatchupBefore: "99th percentile of the time from the terminal to the slower of the two other drains, before that", measure.CatchupDuring: "the same in that time",
		measure.CatchupLive: "records per second that arrived at each of the other drains",

		measure.GrowthUnits:   "amount of work: sessions of about 1,000 lines, lines, or drains with the same records",
		measure.GrowthCPU:     "user and system time of the process with the embedded NATS server, the enricher and the router, from their start to the arrival of the last record",
		measure.GrowthUnitCPU: "the same per session or line; for fan-out, per record that arrived at a drain, in microseconds",
		measure.GrowthWall:    "from the start to the arrival of the last record", measure.GrowthPeak: "peak resident memory of that process (VmHWM) in that time, in megabytes",
		measure.GrowthReceiver: "the receiver's user and system time", measure.GrowthRepeats: "repeated records, as a share of all",
		measure.FanoutEnriched: "records published to the LOGS stream per record of the sessions: 1 if each is enriched once, for any number of drains",
		measure.SinkCPU:        "user and system time per record if the drain's sink alone writes the same records, read and decoded in advance, without a router",
		measure.FanoutExtra:    "cost of the drains after the first, per record and drain, as a multiple of the sink's alone",
	}
}

// joined adds the entries of b to a and returns it.
func joined(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

// tablePrefixes returns the prefixes of the subjects that have a table of their own.
func tablePrefixes() []string {
	return []string{measure.ProfilePrefix, "ssh/", "sessions/", "latency/", "soak", "catchup", "fanout/", "growth/"}
}

// tableOf returns the prefix of the table with a subject; "" for the first table.
func tableOf(subject string) string {
	for _, prefix := range tablePrefixes() {
		if strings.HasPrefix(subject, prefix) {
			return prefix
		}
	}
	return ""
}

// TitleOf returns the title of a subject in its table.
func TitleOf(subject string) string {
	for _, c := range comparisons {
		if slices.Contains(c.subjects(), subject) {
			return c.titleOf(subject)
		}
	}
	if title := titles[subject]; title != "" {
		return title
	}
	switch subject {
	case "latency/https":
		return "HTTPS, `ndjson`"
	case "latency/syslog":
		return "syslog over TLS"
	case "latency/https/single":
		return "HTTPS, `ndjson`, each line at a moment of its own"
	case "soak":
		return "`ttydrain serve --role router`"
	case "catchup":
		return "HTTPS, `ndjson`"
	}
	kind, amount, _ := strings.Cut(strings.TrimPrefix(subject, "growth/"), "/")
	n, err := strconv.Atoi(amount)
	if err != nil {
		return subject
	}
	unit := kind
	if kind == "fanout" {
		unit = "drains"
	}
	if n == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	return thousands(float64(n)) + " " + unit
}

// growthTables writes the tables of package growth.
func (r *Report) growthTables(b *strings.Builder) {
	r.table(b, "From the terminal to", "latency/", []column{
		{"lines/s", measure.LatencyRate, thousands},
		{"p50, ms", measure.LatencyP50, decimals(1)}, {"p99, ms", measure.LatencyP99, decimals(1)}, {"p99.9, ms", measure.LatencyP999, decimals(1)}, {"max, ms", measure.LatencyMax, decimals(1)},
		{"of p99: capture ≤", measure.LatencyStages + measure.StageCapture, decimals(1)}, {"enrich ≤", measure.LatencyStages + measure.StageEnrich, decimals(1)}, {"route ≤", measure.LatencyStages + measure.StageRoute, decimals(1)},
		{"processor s per million lines", measure.LatencyCPU, decimals(1)},
	})
	r.table(b, "Memory", "soak", []column{
		{"s", measure.SoakTime, decimals(0)}, {"records/s", measure.SoakRate, thousands}, {"most, MB", measure.SoakResident, decimals(1)}, {"second half, MB", measure.SoakMean, decimals(1)},
		{"heap, MB", measure.SoakHeap, decimals(1)}, {"growth, KB/min", measure.SoakSlope, decimals(0)}, {"processor s per million", measure.SoakCPU, decimals(2)},
	})
	r.table(b, "Catching up", "catchup", []column{
		{"records behind", measure.CatchupBacklog, thousands}, {"records/s", measure.CatchupRate, thousands}, {"processor s per million", measure.CatchupCPU, decimals(2)},
		{"live records/s", measure.CatchupLive, thousands}, {"live p99 before, ms", measure.CatchupBefore, decimals(1)}, {"during, ms", measure.CatchupDuring, decimals(1)},
	})
	r.table(b, "The same sessions to", "fanout/", []column{
		{"s", measure.GrowthWall, decimals(2)}, {"processor s", measure.GrowthCPU, decimals(2)}, {"µs per record and drain", measure.GrowthUnitCPU, decimals(2)},
		{"the sink's alone", measure.SinkCPU, decimals(2)}, {"extra drain ÷ sink", measure.FanoutExtra, decimals(2)}, {"enriched", measure.FanoutEnriched, decimals(2)}, {"repeats", measure.GrowthRepeats, decimals(3)}, {"most memory, MB", measure.GrowthPeak, decimals(0)},
	})
	r.table(b, "Work", "growth/", []column{
		{"s", measure.GrowthWall, decimals(2)}, {"processor s", measure.GrowthCPU, decimals(2)}, {"µs each", measure.GrowthUnitCPU, decimals(1)}, {"most memory, MB", measure.GrowthPeak, decimals(0)},
	})
	for _, g := range growths {
		if f, ok := fitOf(r.growthOf(g.prefix, measure.GrowthCPU)); ok {
			fmt.Fprintf(b, "- Processor time as %s grow: %s.\n", g.unit, f)
		}
	}
}

// GrowthPlots draws the results of package growth, and returns the plots by name.
func (r *Report) GrowthPlots() (map[string]*plot.Plot, error) {
	plots := make(map[string]*plot.Plot)
	var lines []line
	for _, one := range r.Results {
		if points := one.Curves["latency"]; tableOf(one.Subject) == "latency/" && len(points) > 1 {
			lines = append(lines, line{plain(TitleOf(one.Subject)), points})
		}
	}
	var err error
	if len(lines) > 0 {
		if plots["latency"], err = latencyPlot("From the terminal to the drain", 100, "100 ms, for 99 %", lines...); err != nil {
			return nil, err
		}
	}
	if one := r.Result("soak"); len(one.Curves["resident"]) > 1 {
		plots["soak"], err = linePlot("Memory of a router at full load", "seconds", "megabytes", 64, "64 MB",
			line{"resident", one.Curves["resident"]}, line{"heap", one.Curves["heap"]})
		if err != nil {
			return nil, err
		}
	}
	for _, g := range growths {
		cost, wall := r.growthOf(g.prefix, measure.GrowthCPU), r.growthOf(g.prefix, measure.GrowthWall)
		if len(cost) < 2 {
			continue
		}
		name := "growth-" + g.unit
		if plots[name], err = growthPlot("Cost as "+g.unit+" grow", g.unit, "seconds", line{"processor time", cost}, line{"elapsed", wall}); err != nil {
			return nil, err
		}
	}
	return plots, nil
}

// plain returns a title without Markdown.
func plain(title string) string { return strings.ReplaceAll(title, "`", "") }
