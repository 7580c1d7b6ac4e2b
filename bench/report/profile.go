package report

import (
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// profileTable writes the CPU time by purpose.
func (r *Report) profileTable(b *strings.Builder) {
	var columns []column
	for _, p := range append(measure.ProfileParts(), measure.ProfilePart{Title: measure.OtherPart}) {
		columns = append(columns, column{p.Title, measure.ProfileShare + p.Title, decimals(1)})
	}
	r.table(b, "Processor time, % of", measure.ProfilePrefix, columns)
	if b.Len() > 0 && slices.ContainsFunc(r.Results, func(one measure.Result) bool { return strings.HasPrefix(one.Subject, measure.ProfilePrefix) }) {
		b.WriteString("- Each sample of the profile counts for the innermost function on its stack that belongs to a column; *texts* is the terminal emulator, *encoding* makes the drain's " +
			"bytes, and system calls count for their callers.\n")
	}
}
