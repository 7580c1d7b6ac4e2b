package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A report is everything that one run of the benchmark gave, with how each figure was measured.
type report struct {
	Time     time.Time         `json:"time"`
	Machine  string            `json:"machine"`
	Settings map[string]any    `json:"settings"`
	How      map[string]string `json:"how"` // by metric
	Results  []result          `json:"results"`
	// Medians are those of each subject, by metric; Ratios, where there is another subject to compare
	// with, the medians of the runs' ratios to that one.
	Medians map[string]sample `json:"medians"`
	Ratios  map[string]sample `json:"ratios"`
	Corpus  corpusStatistics  `json:"corpus"`
	// Compared are the comparisons with limits and peers, by protocol.
	Compared map[string]compared `json:"compared"`
	SSHBars  []string            `json:"ssh_bars,omitempty"`
}

// how says how each metric is measured.
var how = joined(growthHow(), joined(sshHow(), map[string]string{
	recordsMeasured:   "records that arrived and were counted",
	receivedPerRecord: "bytes of request bodies or syslog messages that arrived, divided by the records",
	bytesPerRecord:    "bytes of terminal output, divided by the records that became of it",
	recordsPerSecond: "records divided by a time: of ttydrain, from the start of the enricher and the router to the arrival of the last record, and of Elasticsearch " +
		"to the confirmation of the last one; of a limit, from its first byte on; of a peer, from the arrival of the first record, for those that had not arrived with it, so that its own start does not count",
	secondsPerMillion: "user and system time in that time, for 1,000,000 records: of ttydrain, of the process with the embedded NATS server, the enricher and the router (getrusage); " +
		"of a peer, of all its processes from their start (/proc), which do not include the NATS server that Telegraf reads from",
	receiverPerMillion: "the same of the receiver's process, which does TLS and counts; Elasticsearch's is not measured",
	peakMemory:         "the most memory that these processes had resident (VmHWM), in megabytes; of a limit, with all that was made beforehand",
	echoP50:            "median time from writing a typed byte to an SSH connection to reading it from there, the program behind the terminal being `cat`",
	echoP99:            "the same, 99th percentile",
	catRate:            "bytes that `cat` of a file shows through the terminal, divided by the time from the go-ahead to the last byte",
	catSeconds:         "user and system time (/proc) of the server and all that it started for that, until it had nothing to do any more, for 100 MB",
}))

// reference is the subject that others of its kind are compared with.
const reference = "ssh/openssh"

func newReport(s *settings, results []result) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Machine: machine(), Results: results, How: how,
		Settings: map[string]any{"records": s.records, "sessions": s.sessions, "seed": s.seed, "runs": s.runs, "echoes": s.echoes, "cat_bytes": s.catBytes},
		Medians:  make(map[string]sample), Ratios: make(map[string]sample), Corpus: statistics(), Compared: make(map[string]compared),
	}
	for _, one := range results {
		medians := make(sample)
		for metric := range how {
			if v, ok := one.median(metric); ok {
				medians[metric] = v
			}
		}
		r.Medians[one.Subject] = medians
		if ratios := one.ratios(r.result(reference)); len(ratios) > 0 {
			r.Ratios[one.Subject] = ratios
		}
	}
	r.judgeSSH()
	for _, c := range comparisons {
		if found, ok := c.compare(r); ok {
			r.Compared[c.protocol] = found
		}
	}
	return r
}

func (r *report) result(subject string) result {
	for _, one := range r.Results {
		if one.Subject == subject {
			return one
		}
	}
	return result{Subject: subject, Missing: "it was not measured"}
}

// ratios are the medians of the ratios to another subject, run by run: what else was going on on
// the machine at the time concerns both.
func (r result) ratios(to result) sample {
	if !strings.HasPrefix(r.Subject, "ssh/") || r.Subject == to.Subject {
		return nil
	}
	ratios := make(sample)
	for metric := range how {
		if v, ok := r.ratio(to, metric); ok {
			ratios[metric] = v
		}
	}
	return ratios
}

// ratio is the median of the runs' ratios of a metric.
func (r result) ratio(to result, metric string) (float64, bool) {
	var all []float64
	for i := range min(len(r.Samples), len(to.Samples)) {
		if a, b := r.Samples[i][metric], to.Samples[i][metric]; a > 0 && b > 0 {
			all = append(all, a/b)
		}
	}
	return median(all)
}

// machine says in a few words what this was measured on.
func machine() string {
	model := "unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// A column of a table: a metric and how it is printed.
type column struct {
	title, metric string
	format        func(float64) string
}

// markdown is the tables, and below each how its figures were measured.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d runs on %s, %s.\n", r.Settings["runs"], r.Machine, r.Time.Format("2 January 2006"))
	fmt.Fprintf(&b, "The corpus: %s.\n", r.Corpus)
	r.comparisonTables(&b)
	r.table(&b, "From the TTY stream to", "", []column{
		{"records", recordsMeasured, thousands},
		{"records/s", recordsPerSecond, thousands},
		{"processor s per million", secondsPerMillion, decimals(2)},
		{"the receiver's", receiverPerMillion, decimals(2)},
		{"peak memory, MB", peakMemory, decimals(0)},
	})
	r.profileTable(&b)
	r.sshTables(&b)
	r.growthTables(&b)
	return b.String()
}

// titles of the subjects in the tables.
var titles = map[string]string{
	"https/array":             "HTTPS, `array`",
	"keystrokes/https/ndjson": "HTTPS, `ndjson`, every keystroke a chunk",
	"profile/https/ndjson":    "HTTPS, `ndjson`",
	"profile/https/json":      "HTTPS, `json`",
	"profile/syslog":          "syslog over TLS",
	"ssh/openssh":             "OpenSSH, which records nothing",
	"ssh/openssh+tlog":        "OpenSSH with tlog",
	"ssh/openssh+script":      "OpenSSH with script",
	"ssh/ttydrain":            "ttydrain",
	"ssh/ttydrain+drain":      "ttydrain, delivering to an HTTPS drain meanwhile",
	"sessions/openssh":        "OpenSSH, which records nothing",
	"sessions/openssh+tlog":   "OpenSSH with tlog",
	"sessions/ttydrain":       "ttydrain",
}

// table writes the table of the subjects whose names begin with prefix, or with "" of those that
// have no other table.
func (r *report) table(b *strings.Builder, first, prefix string, columns []column) {
	var rows []result
	for _, one := range r.Results {
		if tableOf(one.Subject) == prefix && !isOfComparison(one.Subject) {
			rows = append(rows, one)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| %s |", first)
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.title)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---:|", len(columns)))
	for _, one := range rows {
		fmt.Fprintf(b, "| %s |", titleOf(one.Subject))
		for i, c := range columns {
			v, ok := one.median(c.metric)
			switch ratio := r.Ratios[one.Subject][c.metric]; {
			case one.Missing != "" && i == 0:
				fmt.Fprintf(b, " not measured: %s |", one.Missing)
			case !ok:
				b.WriteString(" – |")
			case ratio > 0:
				fmt.Fprintf(b, " %s (× %.2f) |", c.format(v), ratio)
			default:
				fmt.Fprintf(b, " %s |", c.format(v))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, c := range columns {
		if said := how[c.metric]; said != "" {
			fmt.Fprintf(b, "- %s: %s.\n", c.title, said)
		}
	}
	if prefix == "ssh/" {
		b.WriteString("- ×: the ratio to OpenSSH in the same round, median of the rounds.\n")
	}
}

// thousands prints a whole number with commas.
func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func decimals(n int) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v, 'f', n, 64) }
}

// The markers between which writeTables puts the tables.
const (
	beginMarker = "<!-- bench:begin -->"
	endMarker   = "<!-- bench:end -->"
)

// writeTables puts the tables into the files that have the markers. A file without them, or that is
// not there, is passed over and told.
func writeTables(tables string, files ...string) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "%s is not here, and the table is not put into it\n", file)
			continue
		}
		if err != nil {
			return err
		}
		updated, ok := replaceTables(data, tables)
		if !ok {
			fmt.Fprintf(os.Stderr, "%s has no lines %s and %s, and the table is not put into it\n", file, beginMarker, endMarker)
			continue
		}
		if err := os.WriteFile(file, updated, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// replaceTables replaces what is between the two markers; ok is false where they are not there, in
// this order.
func replaceTables(text []byte, tables string) (updated []byte, ok bool) {
	before, rest, ok := bytes.Cut(text, []byte(beginMarker+"\n"))
	if !ok {
		return nil, false
	}
	_, after, ok := bytes.Cut(rest, []byte(endMarker))
	if !ok {
		return nil, false
	}
	return bytes.Join([][]byte{before, []byte(beginMarker + "\n"), []byte(tables), []byte(endMarker), after}, nil), true
}
