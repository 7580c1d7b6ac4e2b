package report

import (
	"fmt"
	"strings"

	"gonum.org/v1/plot"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// Compared has the results of a comparison.
type Compared struct {
	// Fastest and Thriftiest are the peers with the most records/s and the least CPU time, or "".
	Fastest    string `json:"fastest_peer,omitempty"`
	Thriftiest string `json:"thriftiest_peer,omitempty"`
	// The ratios of each subject to another, which are medians of the rounds' ratios.
	ToLimit      map[string]float64 `json:"records_per_second_to_limit,omitempty"`
	ToFastest    map[string]float64 `json:"records_per_second_to_fastest_peer,omitempty"`
	ToThriftiest map[string]float64 `json:"processor_seconds_to_thriftiest_peer,omitempty"`
	Bars         []Judged           `json:"bars,omitempty"`
}

// Judged is a bar, and whether ttydrain reaches it.
type Judged struct {
	Bar     string  `json:"bar"`
	Ratio   float64 `json:"ratio,omitempty"`
	Reached bool    `json:"reached"`
	// Unknown is the reason why it could not be judged, or "".
	Unknown string `json:"unknown,omitempty"`
}

func (j Judged) String() string {
	switch {
	case j.Unknown != "":
		return fmt.Sprintf("bar: %s: not known, %s", j.Bar, j.Unknown)
	case j.Reached:
		return fmt.Sprintf("bar: %s: %.2f, reached", j.Bar, j.Ratio)
	}
	return fmt.Sprintf("bar: %s: %.2f, **missed**", j.Bar, j.Ratio)
}

// compare compares the results; ok is false if there are none of this comparison.
func (c comparison) compare(r *Report) (found Compared, ok bool) {
	best := func(metric string, better func(a, b float64) bool) (subject string) {
		var top float64
		for _, peer := range c.peers() {
			if v, measured := r.Result(peer).Median(metric); measured && (subject == "" || better(v, top)) {
				subject, top = peer, v
			}
		}
		return subject
	}
	found = Compared{
		Fastest:    best(measure.RecordsPerSecond, func(a, b float64) bool { return a > b }),
		Thriftiest: best(measure.SecondsPerMillion, func(a, b float64) bool { return a < b }),
		ToLimit:    make(map[string]float64), ToFastest: make(map[string]float64), ToThriftiest: make(map[string]float64),
	}
	for _, subject := range c.subjects() {
		one := r.Result(subject)
		if r.has(subject) {
			ok = true
		}
		for _, with := range []struct {
			ratios map[string]float64
			metric string
			other  string
		}{{found.ToLimit, measure.RecordsPerSecond, c.limit()}, {found.ToFastest, measure.RecordsPerSecond, found.Fastest}, {found.ToThriftiest, measure.SecondsPerMillion, found.Thriftiest}} {
			if ratio, measured := one.Ratio(r.Result(with.other), with.metric); measured {
				with.ratios[subject] = ratio
			}
		}
	}
	for _, b := range c.bars {
		found.Bars = append(found.Bars, b.judge(c, found))
	}
	return found, ok
}

// judge judges a bar by the ratios of a comparison.
func (b goal) judge(c comparison, found Compared) Judged {
	what := map[string]string{measure.RecordsPerSecond: "records/s", measure.SecondsPerMillion: "processor time"}[b.metric]
	ratios, to := found.ToLimit, "the limit"
	switch b.to {
	case fastestPeer:
		ratios, to = found.ToFastest, "the fastest peer"
	case thriftiestPeer:
		ratios, to = found.ToThriftiest, "the thriftiest peer"
	}
	j := Judged{Bar: fmt.Sprintf("%s ≥ %g × %s", what, b.min, to)}
	if b.min == 0 {
		j.Bar = fmt.Sprintf("%s ≤ %g × %s", what, b.max, to)
	}
	ratio, ok := ratios[c.protocol]
	if !ok {
		j.Unknown = "since " + to + " or ttydrain was not measured"
		return j
	}
	j.Ratio = ratio
	j.Reached = b.min > 0 && ratio >= b.min || b.min == 0 && ratio <= b.max
	return j
}

// has reports whether a subject has a result.
func (r *Report) has(subject string) bool {
	for _, one := range r.Results {
		if one.Subject == subject {
			return true
		}
	}
	return false
}

// comparisonTables writes a table for each comparison, followed by its bars.
func (r *Report) comparisonTables(b *strings.Builder) {
	for _, c := range comparisons {
		found, ok := r.Compared[c.protocol]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "\n| %s | records/s | × limit | × fastest peer | processor s per million | × thriftiest peer | the receiver's | peak memory, MB |\n|---|%s\n", c.title, strings.Repeat("---:|", 7))
		for _, subject := range c.subjects() {
			if !r.has(subject) {
				continue
			}
			one := r.Result(subject)
			fmt.Fprintf(b, "| %s |", c.titleOf(subject))
			if one.Missing != "" {
				said, _, _ := strings.Cut(one.Missing, "\n")
				fmt.Fprintf(b, " not measured: %s | | | | | | |\n", strings.ReplaceAll(said, "|", "\\|"))
				continue
			}
			cell := func(v float64, ok bool, format func(float64) string) {
				if !ok {
					b.WriteString(" – |")
					return
				}
				fmt.Fprintf(b, " %s |", format(v))
			}
			metric := func(name string, format func(float64) string) {
				v, ok := one.Median(name)
				cell(v, ok, format)
			}
			ratio := func(of map[string]float64) {
				v, ok := of[subject]
				cell(v, ok, decimals(2))
			}
			metric(measure.RecordsPerSecond, thousands)
			ratio(found.ToLimit)
			ratio(found.ToFastest)
			metric(measure.SecondsPerMillion, decimals(2))
			ratio(found.ToThriftiest)
			metric(measure.ReceiverPerMillion, decimals(2))
			metric(measure.PeakMemory, decimals(0))
			b.WriteString("\n")
		}
		if len(found.Bars) > 0 {
			b.WriteString("\n")
		}
		for _, j := range found.Bars {
			fmt.Fprintf(b, "- %s.\n", j)
		}
	}
	if len(r.Compared) == 0 {
		return
	}
	b.WriteString("\nIn these tables:\n\n")
	for _, c := range []column{{title: "records/s", metric: measure.RecordsPerSecond}, {title: "processor s per million", metric: measure.SecondsPerMillion},
		{title: "the receiver's", metric: measure.ReceiverPerMillion}, {title: "peak memory", metric: measure.PeakMemory}} {
		fmt.Fprintf(b, "- %s: %s.\n", c.title, How[c.metric])
	}
	b.WriteString("- ×: the ratio to another row in the same round, median of the rounds. The fastest and the thriftiest peer are those by their medians.\n")
	b.WriteString("- not measured: a program that is not installed, with what it needs, or a peer that did not deliver every record exactly once.\n")
}

// Plots draws all results that can be drawn, and returns the plots by name.
func (r *Report) Plots() (map[string]*plot.Plot, error) {
	plots, err := r.GrowthPlots()
	if err != nil {
		return nil, err
	}
	for _, c := range comparisons {
		var bars []bar
		var own []string
		for _, subject := range c.subjects() {
			if rate, ok := r.Result(subject).Median(measure.RecordsPerSecond); ok {
				name := strings.Trim(c.titleOf(subject), "*")
				bars = append(bars, bar{name, rate})
				if subject == c.protocol {
					own = append(own, name)
				}
			}
		}
		if len(bars) < 2 {
			continue
		}
		if plots["compare-"+strings.ReplaceAll(c.protocol, "/", "-")], err = barPlot(c.title, "records a second", bars, own...); err != nil {
			return nil, err
		}
	}
	return plots, nil
}
