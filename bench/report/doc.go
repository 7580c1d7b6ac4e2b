// Package report turns results into tables and plots: medians, ratios, and whether ttydrain reaches
// its bars. Each figure comes with a description of how it was measured.
package report
