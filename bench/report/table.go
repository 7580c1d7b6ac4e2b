package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
)

// A column of a table has a metric and its format.
type column struct {
	title, metric string
	format        func(float64) string
}

// Markdown returns the tables, each followed by descriptions of its figures.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d runs on %s, %s.\n", r.Settings["runs"], r.Machine, r.Time.Format("2 January 2006"))
	fmt.Fprintf(&b, "The corpus: %s.\n", describe(r.Corpus))
	r.comparisonTables(&b)
	r.table(&b, "From the TTY stream to", "", []column{
		{"records", measure.RecordsMeasured, thousands},
		{"records/s", measure.RecordsPerSecond, thousands},
		{"processor s per million", measure.SecondsPerMillion, decimals(2)},
		{"the receiver's", measure.ReceiverPerMillion, decimals(2)},
		{"peak memory, MB", measure.PeakMemory, decimals(0)},
	})
	r.profileTable(&b)
	r.sshTables(&b)
	r.growthTables(&b)
	return b.String()
}

// titles has the titles of subjects in the tables.
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

// table writes the table of the subjects whose names start with prefix; "" is the table of subjects
// that have no other table.
func (r *Report) table(b *strings.Builder, first, prefix string, columns []column) {
	compared := ComparedSubjects()
	var rows []measure.Result
	for _, one := range r.Results {
		if tableOf(one.Subject) == prefix && !slices.Contains(compared, one.Subject) {
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
		fmt.Fprintf(b, "| %s |", TitleOf(one.Subject))
		for i, c := range columns {
			v, ok := one.Median(c.metric)
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
		if said := How[c.metric]; said != "" {
			fmt.Fprintf(b, "- %s: %s.\n", c.title, said)
		}
	}
	if prefix == "ssh/" {
		b.WriteString("- ×: the ratio to OpenSSH in the same round, median of the rounds.\n")
	}
}

// thousands formats a whole number with commas.
func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// decimals returns a format with n decimals.
func decimals(n int) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v, 'f', n, 64) }
}

// describe returns a sentence about the corpus.
func describe(s corpus.Statistics) string {
	return fmt.Sprintf("%d recordings of %s bytes and %s lines; %.0f bytes a line where programs write lines; %.1f %% of the bytes are in escape sequences",
		s.Recordings, thousands(float64(s.Bytes)), thousands(float64(s.Lines)), s.BytesPerLine, 100*s.Escapes)
}
