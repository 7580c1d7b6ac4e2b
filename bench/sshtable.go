package main

import (
	"fmt"
	"strings"
)

// sshHow says how each metric of many people over SSH is measured.
func sshHow() map[string]string {
	return map[string]string{
		sessionsOpen:  "sessions at once, each on a connection of its own, in each of which a byte is typed five times a second",
		sessionsRate:  "sessions divided by the time in which all of them were opened, eight at a time",
		sessionsEcho:  "bytes typed and shown again, each compared, divided by the time that it took",
		sessionsP50:   "median time from when a byte is due to be typed to its echo",
		sessionsP99:   "the same, 99th percentile",
		serverKiB:     "the resident set (VmRSS) of the server's first process while all sessions are there, less that with none, for each session",
		serverMoreKiB: "the proportional set (PSS) of all other processes of the server but the sessions' commands, likewise: of ttydrain each session's init, of OpenSSH its two processes for each, and the recorder",
		serverAllKiB:  "the sum of both",
	}
}

// An sshBar is what ttydrain is to reach over SSH.
type sshBar struct {
	what, subject, metric string
	// to is the subject that the figure is compared with, run by run; "" where the figure itself
	// counts.
	to string
	// difference says that what counts is how much more it is, and not how many times.
	difference bool
	// least or most is the bar; the other one is 0.
	least, most float64
}

var sshBars = []sshBar{
	{what: "echo p50 ≤ OpenSSH's + 1 ms", subject: "ssh/ttydrain", metric: echoP50, to: reference, difference: true, most: 1},
	{what: "echo p99 ≤ OpenSSH's + 5 ms", subject: "ssh/ttydrain", metric: echoP99, to: reference, difference: true, most: 5},
	{what: "`cat` ≥ 0.8 × OpenSSH", subject: "ssh/ttydrain", metric: catRate, to: reference, least: 0.8},
	{what: "`cat` ≥ 3 × OpenSSH with tlog", subject: "ssh/ttydrain", metric: catRate, to: "ssh/openssh+tlog", least: 3},
	{what: "`cat` while delivering ≥ 0.8 × OpenSSH", subject: "ssh/ttydrain+drain", metric: catRate, to: reference, least: 0.8},
	{what: "`cat` while delivering ≥ 3 × OpenSSH with tlog", subject: "ssh/ttydrain+drain", metric: catRate, to: "ssh/openssh+tlog", least: 3},
	{what: "the gateway's memory per session ≤ 256 KiB", subject: "sessions/ttydrain", metric: serverKiB, most: 256},
	{what: "the same with the session's init ≤ 256 KiB", subject: "sessions/ttydrain", metric: serverAllKiB, most: 256},
}

// judge says whether the bar is reached; ok is false where it was not measured.
func (b sshBar) judge(r *report) (line string, ok bool) {
	of, to := r.result(b.subject), r.result(b.to)
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
	v, ok := median(all)
	if !ok {
		return "", false
	}
	reached := "reached"
	if b.least > 0 && v < b.least || b.most > 0 && v > b.most {
		reached = "**missed**"
	}
	return fmt.Sprintf("bar: %s: %.2f, %s", b.what, v, reached), true
}

// sshTables writes what is measured over SSH, and whether the bars are reached.
func (r *report) sshTables(b *strings.Builder) {
	r.table(b, "SSH server", "ssh/", []column{
		{"echo p50, ms", echoP50, decimals(2)},
		{"echo p99, ms", echoP99, decimals(2)},
		{"`cat`, MB/s", catRate, decimals(1)},
		{"its processor s per 100 MB", catSeconds, decimals(2)},
	})
	r.table(b, "With many people at once", "sessions/", []column{
		{"sessions", sessionsOpen, thousands},
		{"opened per s", sessionsRate, decimals(1)},
		{"echoes/s", sessionsEcho, thousands},
		{"echo p50, ms", sessionsP50, decimals(2)},
		{"echo p99, ms", sessionsP99, decimals(2)},
		{"the server's KiB per session", serverKiB, thousands},
		{"its other processes' KiB", serverMoreKiB, thousands},
	})
	if len(r.SSHBars) > 0 {
		b.WriteString("\n")
	}
	for _, line := range r.SSHBars {
		fmt.Fprintf(b, "- %s.\n", line)
	}
}

// judgeSSH judges what was measured.
func (r *report) judgeSSH() {
	for _, bar := range sshBars {
		if line, ok := bar.judge(r); ok {
			r.SSHBars = append(r.SSHBars, line)
		}
	}
}
