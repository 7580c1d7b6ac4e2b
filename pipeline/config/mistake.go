package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one error in a configuration.
type Mistake struct {
	File string
	// Line and Column count from 1, Column in characters.
	Line, Column int
	// Path is the field, such as "drains[0].url"; "" for the whole file.
	Path string
	// Code is the short code of this kind of mistake, under which the documentation explains it.
	Code Code
	// Message states the error, the expected value and, if there is one, the nearest valid name. It
	// quotes no secret.
	Message string
}

func (m Mistake) Error() string {
	if m.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s [%s]", m.File, m.Line, m.Column, m.Message, m.Code)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s [%s]", m.File, m.Line, m.Column, m.Path, m.Message, m.Code)
}

// Mistakes are all errors of a configuration, in the order of their positions.
type Mistakes []Mistake

// Error returns one line for each error.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
}
