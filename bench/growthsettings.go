package main

import (
	"context"
	"flag"
	"time"
)

// growthSettings are of what grows, lasts, or is in trouble.
type growthSettings struct {
	latencyTime  time.Duration
	liveSessions int
	liveRate     float64
	liveBurst    int
	soak         time.Duration
	backlog      int
	growthLines  int
}

func (s *growthSettings) flags() {
	flag.DurationVar(&s.latencyTime, "latency", 15*time.Second, "`TIME` for which the way of lines to a drain is timed")
	flag.IntVar(&s.liveSessions, "live-sessions", 200, "`SESSIONS` whose lines are timed")
	flag.Float64Var(&s.liveRate, "live-rate", 10_000, "`LINES` a second that they show together")
	flag.IntVar(&s.liveBurst, "live-burst", 10, "`LINES` that each of them shows at once")
	flag.DurationVar(&s.soak, "soak", time.Minute, "`TIME` for which the memory of a router at full load is watched")
	flag.IntVar(&s.backlog, "backlog", 500_000, "`LINES` for which a drain is down before it catches up")
	flag.IntVar(&s.growthLines, "growth-lines", 1_000_000, "`LINES` up to which the cost of lines is measured, from 1,000 by tens")
}

// growth measures what is chosen of how ttydrain behaves as work grows, lasts, or is in trouble.
func growth(ctx context.Context, s *settings, only []string) ([]result, error) {
	results, err := measure(ctx, []group{latencies(), fanouts(), {&catchup{}}}, s, only)
	if err != nil {
		return nil, err
	}
	// These last, or have enough points by themselves.
	once := *s
	once.runs = 1
	more, err := measure(ctx, []group{growingWork(s.growthLines), {&soak{}}}, &once, only)
	return append(results, more...), err
}
