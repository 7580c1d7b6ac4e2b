package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The markers between which writeTables puts the tables.
const (
	beginMarker = "<!-- bench:begin -->"
	endMarker   = "<!-- bench:end -->"
)

// writeTables puts the tables into the files that have the markers. A file without them, or that is
// not there, is passed over and told.
func WriteTables(tables string, files ...string) error {
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
