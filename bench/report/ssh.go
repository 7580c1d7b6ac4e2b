package report

import (
	"fmt"
	"strings"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// sshHow describes how each metric of many users is measured.
func sshHow() map[string]string {
	return map[string]string{
		measure.SessionsOpen:  "sessions open at the same time, each on a connection of its own; in each, a byte is typed five times a second",
		measure.SessionsRate:  "sessions divided by the time to open all of them, eight at a time",
		measure.SessionsEcho:  "typed bytes whose echo was compared, divided by the elapsed time",
		measure.SessionsP50:   "median time from when a byte is due to be typed to its echo",
		measure.SessionsP99:   "the same, 99th percentile",
		measure.ServerKiB:     "the resident set (VmRSS) of the server's first process with all sessions open, minus that with none, per session",
		measure.ServerMoreKiB: "the proportional set (PSS) of all other processes of the server except for the sessions' commands, likewise: for ttydrain each session's init, for OpenSSH two processes per session and the recorder",
		measure.ServerAllKiB:  "the sum of both",
	}
}

// An sshBar is a bar that ttydrain should reach over SSH.
type sshBar struct {
	what, subject, metric string
	// to is the subject that the figure is compared with, run by run; "" if the figure itself counts.
	to string
	// difference compares by difference instead of by ratio.
	difference bool
	// min or max is the bar; the other one is 0.
	min, max float64
}

// sshBars are the bars, in the order of the report.
var sshBars = []sshBar{
	{what: "echo p50 ≤ OpenSSH's + 1 ms", subject: "ssh/ttydrain", metric: measure.EchoP50, to: reference, difference: true, max: 1},
	{what: "echo p99 ≤ OpenSSH's + 5 ms", subject: "ssh/ttydrain", metric: measure.EchoP99, to: reference, difference: true, max: 5},
	{what: "`cat` ≥ 0.8 × OpenSSH", subject: "ssh/ttydrain", metric: measure.CatRate, to: reference, min: 0.8},
	{what: "`cat` ≥ 3 × OpenSSH with tlog", subject: "ssh/ttydrain", metric: measure.CatRate, to: "ssh/openssh+tlog", min: 3},
	{what: "`cat` while delivering ≥ 0.8 × OpenSSH", subject: "ssh/ttydrain+drain", metric: measure.CatRate, to: reference, min: 0.8},
	{what: "`cat` while delivering ≥ 3 × OpenSSH with tlog", subject: "ssh/ttydrain+drain", metric: measure.CatRate, to: "ssh/openssh+tlog", min: 3},
	{what: "the gateway's memory per session ≤ 256 KiB", subject: "sessions/ttydrain", metric: measure.ServerKiB, max: 256},
	{what: "the same with the session's init ≤ 256 KiB", subject: "sessions/ttydrain", metric: measure.ServerAllKiB, max: 256},
}

// judge describes whether the bar is reached; ok is false if it was not measured.
func (b sshBar) judge(r *Report) (line string, ok bool) {
	of, to := r.Result(b.subject), r.Result(b.to)
	var all []float64
	for i, s := range of.Samples {
		v, ok := s[b.metric]
		if !ok {
			continue
		}
		if b.to == "" {
			all = append(all, v)
		} else if i < len(to.Samples) && to.Samples[i][b.metric] > 0 {
			if w := to.Samples[i][b.metric]; b.difference {
				all = append(all, v-w)
			} else {
				all = append(all, v/w)
			}
		}
	}
	v, ok := measure.Median(all)
	if !ok {
		return "", false
	}
	reached := "reached"
	if b.min > 0 && v < b.min || b.max > 0 && v > b.max {
		reached = "**missed**"
	}
	return fmt.Sprintf("bar: %s: %.2f, %s", b.what, v, reached), true
}

// sshTables writes the tables of SSH servers, and their bars.
func (r *Report) sshTables(b *strings.Builder) {
	r.table(b, "SSH server", "ssh/", []column{
		{"echo p50, ms", measure.EchoP50, decimals(2)},
		{"echo p99, ms", measure.EchoP99, decimals(2)},
		{"`cat`, MB/s", measure.CatRate, decimals(1)},
		{"its processor s per 100 MB", measure.CatSeconds, decimals(2)},
	})
	r.table(b, "With many people at once", "sessions/", []column{
		{"sessions", measure.SessionsOpen, thousands},
		{"opened per s", measure.SessionsRate, decimals(1)},
		{"echoes/s", measure.SessionsEcho, thousands},
		{"echo p50, ms", measure.SessionsP50, decimals(2)},
		{"echo p99, ms", measure.SessionsP99, decimals(2)},
		{"the server's KiB per session", measure.ServerKiB, thousands},
		{"its other processes' KiB", measure.ServerMoreKiB, thousands},
	})
	if len(r.SSHBars) > 0 {
		b.WriteString("\n")
	}
	for _, line := range r.SSHBars {
		fmt.Fprintf(b, "- %s.\n", line)
	}
}

// judgeSSH judges the bars over SSH.
func (r *Report) judgeSSH() {
	for _, bar := range sshBars {
		if line, ok := bar.judge(r); ok {
			r.SSHBars = append(r.SSHBars, line)
		}
	}
}
