package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
)

// A Report has all results of one run of the benchmark, and how each figure was measured.
type Report struct {
	Time     time.Time         `json:"time"`
	Machine  string            `json:"machine"`
	Settings map[string]any    `json:"settings"`
	How      map[string]string `json:"how"` // by metric
	Results  []measure.Result  `json:"results"`
	// Medians has the medians of each subject. Ratios has the medians of the runs' ratios to the
	// reference, for subjects that are compared with one.
	Medians map[string]measure.Sample `json:"medians"`
	Ratios  map[string]measure.Sample `json:"ratios"`
	Corpus  corpus.Statistics         `json:"corpus"`
	// Compared has the comparisons with limits and peers, by protocol.
	Compared map[string]Compared `json:"compared"`
	SSHBars  []string            `json:"ssh_bars,omitempty"`
}

// How describes how each metric is measured.
var How = joined(growthHow(), joined(sshHow(), map[string]string{
	measure.RecordsMeasured:   "records that arrived and were counted",
	measure.ReceivedPerRecord: "bytes of request bodies or syslog messages that arrived, divided by the records",
	measure.BytesPerRecord:    "bytes of terminal output, divided by the records that became of it",
	measure.RecordsPerSecond: "records divided by a time: for ttydrain, from the start of the enricher and the router to the arrival of the last record, or, for Elasticsearch, " +
		"to its acknowledgement; for a limit, from its first byte; for a peer, from the arrival of the first record, for the records that had not arrived with it, so that its own start does not count",
	measure.SecondsPerMillion: "user and system time in that time, for 1,000,000 records: for ttydrain, that of the process with the embedded NATS server, the enricher and the router (getrusage); " +
		"for a peer, that of all its processes since their start (/proc), without the NATS server that Telegraf reads from",
	measure.ReceiverPerMillion: "the same for the receiver's process, which decrypts and counts; Elasticsearch's is not measured",
	measure.PeakMemory:         "peak resident memory of these processes (VmHWM), in megabytes; for a limit, including the prepared input",
	measure.EchoP50:            "median time from writing a typed byte to an SSH connection to reading its echo; the program in the terminal is `cat`",
	measure.EchoP99:            "the same, 99th percentile",
	measure.CatRate:            "bytes that `cat` of a file shows in the terminal, divided by the time from its start to the last byte",
	measure.CatSeconds:         "user and system time (/proc) of the server and its processes until they are idle, for 100 MB",
}))

// reference is the SSH server that others are compared with.
const reference = "ssh/openssh"

// New returns a report of the results.
func New(s *measure.Settings, results []measure.Result) *Report {
	r := &Report{
		Time: time.Now().UTC().Truncate(time.Second), Machine: machine(), Results: results, How: How,
		Settings: map[string]any{"records": s.Records, "sessions": s.Sessions, "seed": s.Seed, "runs": s.Runs, "echoes": s.Echoes, "cat_bytes": s.CatBytes},
		Medians:  make(map[string]measure.Sample), Ratios: make(map[string]measure.Sample), Corpus: corpus.ComputeStatistics(), Compared: make(map[string]Compared),
	}
	for _, one := range results {
		medians := make(measure.Sample)
		for metric := range How {
			if v, ok := one.Median(metric); ok {
				medians[metric] = v
			}
		}
		r.Medians[one.Subject] = medians
		if to := ratios(one, r.Result(reference)); len(to) > 0 {
			r.Ratios[one.Subject] = to
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

// Result returns the result of a subject.
func (r *Report) Result(subject string) measure.Result {
	for _, one := range r.Results {
		if one.Subject == subject {
			return one
		}
	}
	return measure.Result{Subject: subject, Missing: "it was not measured"}
}

// ratios returns the medians of the runs' ratios to another subject. Within a run, other load on
// the machine affects both subjects.
func ratios(r, to measure.Result) measure.Sample {
	if !strings.HasPrefix(r.Subject, "ssh/") || r.Subject == to.Subject {
		return nil
	}
	all := make(measure.Sample)
	for metric := range How {
		if v, ok := r.Ratio(to, metric); ok {
			all[metric] = v
		}
	}
	return all
}

// machine describes this machine.
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
