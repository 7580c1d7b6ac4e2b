package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// The lines between which WriteTables writes the tables.
const (
	beginMarker = "<!-- bench:begin -->"
	endMarker   = "<!-- bench:end -->"
)

// WriteTables replaces the tables in files. It skips files that do not exist or have no markers,
// with a warning.
func WriteTables(tables string, files ...string) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "bench: skip %s, which does not exist\n", file)
			continue
		}
		if err != nil {
			return err
		}
		updated, ok := replaceTables(data, wrap(tables))
		if !ok {
			fmt.Fprintf(os.Stderr, "bench: skip %s, which has no lines %s and %s\n", file, beginMarker, endMarker)
			continue
		}
		if err := os.WriteFile(file, updated, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// replaceTables replaces the text between the two markers; ok is false if they are missing.
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

// maxColumns is the maximum length of a line of prose.
const maxColumns = 120

// wrap wraps the paragraphs and list items of Markdown, which are a line each. It leaves tables and
// indented lines as they are.
func wrap(markdown string) string {
	var b strings.Builder
	for line := range strings.Lines(markdown) {
		if strings.HasPrefix(line, "|") || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "#") {
			b.WriteString(line)
			continue
		}
		indent := ""
		if strings.HasPrefix(line, "- ") {
			indent = "  "
		}
		column := 0
		for i, word := range strings.Fields(line) {
			switch width := len([]rune(word)); {
			case i == 0:
				column = width
			case column+1+width > maxColumns:
				b.WriteString("\n" + indent)
				column = len(indent) + width
			default:
				b.WriteByte(' ')
				column += 1 + width
			}
			b.WriteString(word)
		}
		if strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
