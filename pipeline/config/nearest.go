package config

import (
	"slices"
	"strconv"
	"strings"
)

// maxListed is the maximum number of names that a message lists.
const maxListed = 30

// expected lists the names that are valid instead of got, and suggests the nearest one of them or
// of others.
func expected(got string, names []string, others ...string) string {
	var b strings.Builder
	b.WriteString("; expected ")
	switch {
	case len(names) == 0:
		return ""
	case len(names) > 1:
		b.WriteString("one of ")
	}
	listed := names[:min(len(names), maxListed)]
	b.WriteString(strings.Join(listed, ", "))
	if more := len(names) - len(listed); more > 0 {
		b.WriteString(" (and " + strconv.Itoa(more) + " more)")
	}
	if name := nearest(got, append(slices.Clone(names), others...)); name != "" {
		b.WriteString("; did you mean " + strconv.Quote(name) + "?")
	}
	return b.String()
}

// nearest returns the name that was probably meant by got, or "".
func nearest(got string, names []string) string {
	got = strings.ToLower(got)
	best, bestDistance := "", 1<<30
	for _, name := range names {
		lower := strings.ToLower(name)
		d := distance(got, lower)
		near := d <= max(1, max(len(got), len(lower))/3)
		// An abbreviation has a large distance, but is clear.
		abbreviated := len(got) >= 3 && strings.HasPrefix(lower, got) || len(lower) >= 3 && strings.HasPrefix(got, lower)
		if (near || abbreviated) && d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance returns the number of insertions, deletions, replacements and transpositions of
// neighbours between two strings (the optimal string alignment distance). Strings that are too long
// for a misspelt name are considered distant.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return 1 << 20
	}
	// rows are the last three of the table: two before, one before, this one.
	var rows [3][65]int
	for j := range len(y) + 1 {
		rows[1][j] = j
	}
	for i := 1; i <= len(x); i++ {
		rows[2][0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			d := min(rows[1][j]+1, rows[2][j-1]+1, rows[1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[0][j-2]+1)
			}
			rows[2][j] = d
		}
		rows[0], rows[1] = rows[1], rows[2]
	}
	return rows[1][len(y)]
}
