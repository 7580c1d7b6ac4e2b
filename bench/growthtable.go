package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// growthHow says how each metric is measured of what grows, lasts or is in trouble.
func growthHow() map[string]string {
	return map[string]string{
		latencyRate: "records that arrived while it was measured, in a second",
		latencyP50:  "median time from the record's own time, which is when its first byte came from the terminal, to its arrival at the receiver, both by the clock of this machine",
		latencyP99:  "the same, 99th percentile", latencyP999: "the same, 99.9th percentile", latencyMax: "the longest of all",
		latencyCPU:                   "user and system time of the process with the sessions' capture, the embedded NATS server, the enricher and the router, for 1,000,000 records",
		latencyStages + stageCapture: "99th percentile of ttydrain_capture_duration_seconds, from the terminal to the TTY stream, up to the bound of its bucket",
		latencyStages + stageEnrich:  "the same of ttydrain_enrich_duration_seconds, from the TTY to the LOGS stream",
		latencyStages + stageRoute:   "the same of ttydrain_drain_route_duration_seconds, from the LOGS stream to the drain's confirmation",

		soakTime: "for how long", soakRate: "records that the drain has confirmed, in a second",
		soakCPU:      "process_cpu_seconds_total of the router, for 1,000,000 records",
		soakResident: "the most of process_resident_memory_bytes of the router, which is asked every second, in megabytes (1,000,000 bytes)",
		soakMean:     "the mean of the same in the second half of the time", soakHeap: "the most of go_memstats_heap_inuse_bytes",
		soakSlope: "by how many kilobytes a minute the resident memory grew in the second half, by least squares",

		catchupBacklog: "records that the drain lacked when it came up", catchupRate: "those, divided by the time from then to the arrival of the last of them",
		catchupCPU:    "user and system time of the process with all of ttydrain in that time, the live traffic's included, for 1,000,000 of them",
		catchupBefore: "99th percentile of the time from the terminal to the two other drains, the worse of them, before", catchupDuring: "the same in that time",
		catchupLive: "records in a second that each of the other drains got",

		growthUnits:   "how much work it was: sessions of about 1,000 lines, lines, or drains that all get the same",
		growthCPU:     "user and system time of the process with the embedded NATS server, the enricher and the router, from their start to the arrival of the last record",
		growthUnitCPU: "the same for each session or line; of fan-out, for each record that a drain got, in microseconds",
		growthWall:    "from the start to the arrival of the last record", growthPeak: "the most memory of that process (VmHWM) in that time, in megabytes",
		growthReceiver: "the receiver's user and system time", growthRepeats: "records that came again, of all",
		fanoutEnriched: "records that were put on the LOGS stream for each record that the sessions made: 1 where enrichment is done once, whatever the number of drains",
		sinkCPU:        "user and system time for each record where the drain's sink writes the same records, read and decoded beforehand, with no router around it",
		fanoutExtra:    "what the drains beyond the first cost, for each record and drain, as a multiple of the sink's by itself",
	}
}

// The stages of a record's way, as the metrics are named.
const (
	stageCapture = "ttydrain_capture_duration_seconds"
	stageEnrich  = "ttydrain_enrich_duration_seconds"
	stageRoute   = "ttydrain_drain_route_duration_seconds"
)

// joined is what is in both.
func joined(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

// tablePrefixes begin the names of the subjects that have a table of their own.
func tablePrefixes() []string {
	return []string{profilePrefix, "ssh/", "sessions/", "latency/", "soak", "catchup", "fanout/", "growth/"}
}

// tableOf is the prefix of the table that a subject is in; "" for the first table.
func tableOf(subject string) string {
	for _, prefix := range tablePrefixes() {
		if strings.HasPrefix(subject, prefix) {
			return prefix
		}
	}
	return ""
}

// titleOf is a subject's name in its table.
func titleOf(subject string) string {
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

// growthTables writes the tables of what grows, lasts or is in trouble.
func (r *report) growthTables(b *strings.Builder) {
	r.table(b, "From the terminal to", "latency/", []column{
		{"lines/s", latencyRate, thousands},
		{"p50, ms", latencyP50, decimals(1)}, {"p99, ms", latencyP99, decimals(1)}, {"p99.9, ms", latencyP999, decimals(1)}, {"max, ms", latencyMax, decimals(1)},
		{"of p99: capture ≤", latencyStages + stageCapture, decimals(1)}, {"enrich ≤", latencyStages + stageEnrich, decimals(1)}, {"route ≤", latencyStages + stageRoute, decimals(1)},
		{"processor s per million lines", latencyCPU, decimals(1)},
	})
	r.table(b, "Memory", "soak", []column{
		{"s", soakTime, decimals(0)}, {"records/s", soakRate, thousands}, {"most, MB", soakResident, decimals(1)}, {"second half, MB", soakMean, decimals(1)},
		{"heap, MB", soakHeap, decimals(1)}, {"growth, KB/min", soakSlope, decimals(0)}, {"processor s per million", soakCPU, decimals(2)},
	})
	r.table(b, "Catching up", "catchup", []column{
		{"records behind", catchupBacklog, thousands}, {"records/s", catchupRate, thousands}, {"processor s per million", catchupCPU, decimals(2)},
		{"live records/s", catchupLive, thousands}, {"live p99 before, ms", catchupBefore, decimals(1)}, {"during, ms", catchupDuring, decimals(1)},
	})
	r.table(b, "The same sessions to", "fanout/", []column{
		{"s", growthWall, decimals(2)}, {"processor s", growthCPU, decimals(2)}, {"µs per record and drain", growthUnitCPU, decimals(2)},
		{"the sink's alone", sinkCPU, decimals(2)}, {"extra drain ÷ sink", fanoutExtra, decimals(2)}, {"enriched", fanoutEnriched, decimals(2)}, {"repeats", growthRepeats, decimals(3)}, {"most memory, MB", growthPeak, decimals(0)},
	})
	r.table(b, "Work", "growth/", []column{
		{"s", growthWall, decimals(2)}, {"processor s", growthCPU, decimals(2)}, {"µs each", growthUnitCPU, decimals(1)}, {"most memory, MB", growthPeak, decimals(0)},
	})
	for _, g := range growths {
		if f, ok := fitOf(r.growthOf(g.prefix, growthCPU)); ok {
			fmt.Fprintf(b, "- Processor time as %s grow: %s.\n", g.unit, f)
		}
	}
}

// growthPlots draws the same, as far as it was measured, by name.
func (r *report) growthPlots() (map[string]*plot.Plot, error) {
	plots := make(map[string]*plot.Plot)
	var lines []line
	for _, one := range r.Results {
		if points := one.Curves["latency"]; tableOf(one.Subject) == "latency/" && len(points) > 1 {
			lines = append(lines, line{plain(titleOf(one.Subject)), points})
		}
	}
	var err error
	if len(lines) > 0 {
		if plots["latency"], err = latencyPlot("From the terminal to the drain", 100, "100 ms, for 99 %", lines...); err != nil {
			return nil, err
		}
	}
	if one := r.result("soak"); len(one.Curves["resident"]) > 1 {
		plots["soak"], err = linePlot("Memory of a router at full load", "seconds", "megabytes", 64, "64 MB",
			line{"resident", one.Curves["resident"]}, line{"heap", one.Curves["heap"]})
		if err != nil {
			return nil, err
		}
	}
	for _, g := range growths {
		cost, wall := r.growthOf(g.prefix, growthCPU), r.growthOf(g.prefix, growthWall)
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

// plain is a title without the marks of Markdown.
func plain(title string) string { return strings.ReplaceAll(title, "`", "") }
