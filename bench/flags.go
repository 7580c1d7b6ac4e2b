package main

import (
	"flag"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// growthFlags defines the flags of the settings of growth, latency, soak and catching up.
func growthFlags(s *measure.GrowthSettings) {
	flag.DurationVar(&s.LatencyTime, "latency", 15*time.Second, "`TIME` for which the way of lines to a drain is timed")
	flag.IntVar(&s.LiveSessions, "live-sessions", 200, "`SESSIONS` whose lines are timed")
	flag.Float64Var(&s.LiveRate, "live-rate", 10_000, "`LINES` a second that they show together")
	flag.IntVar(&s.LiveBurst, "live-burst", 10, "`LINES` that each of them shows at once")
	flag.DurationVar(&s.Soak, "soak", time.Minute, "`TIME` for which the memory of a router at full load is watched")
	flag.IntVar(&s.Backlog, "backlog", 500_000, "`LINES` for which a drain is down before it catches up")
	flag.IntVar(&s.GrowthLines, "growth-lines", 1_000_000, "`LINES` up to which the cost of lines is measured, from 1,000 by tens")
}
