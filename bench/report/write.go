package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
		updated, ok := replaceTables(data, tables)
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
