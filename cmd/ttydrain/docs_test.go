package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the reference of the commands anew")

// TestCommandReference checks that docs/cli-reference.md has the help of every command. Update it
// with go test ./cmd/ttydrain -run Reference -update.
func TestCommandReference(t *testing.T) {
	const file = "docs/cli-reference.md"
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- generated: go test ./cmd/ttydrain -run Reference -update -->\n\n" +
		"Results go to standard output, everything else to standard error. Exit status 0 is success, 1 a failure, 2 a wrong\n" +
		"command line. `ttydrain audit` has [others](audit.md#exit-status), and `ttydrain ssh` exits with the remote status.\n")
	writeHelp(t, &b, newRootCommand())
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != b.String() {
		t.Errorf("%s differs from the commands' help: update it with -update", file)
	}
}

// writeHelp writes the help of a command and of those below it.
func writeHelp(t *testing.T, b *strings.Builder, c *cobra.Command) {
	t.Helper()
	var help bytes.Buffer
	c.SetOut(&help)
	if err := c.Help(); err != nil {
		t.Fatal(err)
	}
	text := strings.TrimRight(help.String(), "\n")
	fmt.Fprintf(b, "\n## %s\n\n```text\n%s\n```\n", c.CommandPath(), text)
	for _, below := range c.Commands() {
		switch below.CommandPath() {
		case "ttydrain help", "ttydrain completion":
			continue // the same in every program of this library
		}
		if below.Parent().CommandPath() == "ttydrain docs" {
			continue // its topics
		}
		writeHelp(t, b, below)
	}
}

// TestReadmeCommands checks that the table of the README has every command.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range newRootCommand().Commands() {
		if name := c.Name(); name != "help" && name != "completion" && !bytes.Contains(readme, []byte("`"+name+"`")) {
			t.Errorf("README.md does not have the command %s", name)
		}
	}
}
