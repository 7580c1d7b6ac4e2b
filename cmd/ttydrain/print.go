package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/schema"
)

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// outputFlag adds --output to a command and those below it.
func outputFlag(c *cobra.Command, output *string) {
	c.PersistentFlags().StringVar(output, "output", outputTable, "`FORMAT` of the output: table or json")
}

// checkOutput checks the value of --output.
func checkOutput(output string) error {
	if output != outputTable && output != outputJSON {
		return usageError{fmt.Errorf("--output %q is not known: expected table or json", output)}
	}
	return nil
}

// printJSON prints a value as JSON.
func printJSON(value any) error {
	encoder := json.NewEncoder(&schema.JSONWriter{To: os.Stdout})
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// newTable returns a table on standard output.
func newTable() *tabwriter.Writer {
	return tabwriter.NewWriter(visible{os.Stdout}, 0, 0, 2, ' ', 0)
}

// printNone reports that a list is empty, on standard error: a table without rows could be a
// mistake.
func printNone(what string) error {
	_, err := fmt.Fprintln(os.Stderr, "no "+what)
	return err
}

// A visible writer replaces hidden characters, such as control characters and those that change the
// direction of others, by question marks: text in the output may come from drains or from names.
type visible struct{ to io.Writer }

// Write implements [io.Writer]. No call may end within a character.
func (v visible) Write(text []byte) (int, error) {
	if _, err := io.WriteString(v.to, shown(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// shown returns a text with a question mark for each hidden character except the newline.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if schema.IsHidden(r) && r != '\n' {
			return '?'
		}
		return r
	}, text)
}
