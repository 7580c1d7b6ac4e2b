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
		"Results go to standard output, everything else to standard error.\n")
	writeStatuses(&b)
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

// writeStatuses writes the table of exit statuses.
func writeStatuses(b *strings.Builder) {
	b.WriteString("\n## Exit statuses\n\n| command | status | meaning |\n|---|---|---|\n")
	for _, s := range []struct {
		command string
		status  int
		meaning string
	}{
		{"all", 0, "success"},
		{"all", statusFailure, "it failed: standard error has the reason. `check` has found mistakes, `drains test` a failing step, `ready` a process " +
			"that is not ready, `sessions kill` has no confirmation for a session, and a [question](operate.md#confirmations) was not answered with yes"},
		{"all", statusUsage, "the command line is wrong, or a question needs a terminal or `--yes`, and nothing was done"},
		{"audit", auditDamaged, "something is damaged or missing"},
		{"audit", statusUsage, "also: the copy cannot be read"},
		{"audit", auditIncomplete, "nothing is damaged, but [not everything could be proven](audit.md#exit-status)"},
		{"ssh", int(statusConnection), "there was no connection, or it was lost"},
	} {
		fmt.Fprintf(b, "| %s | %d | %s |\n", s.command, s.status, s.meaning)
	}
	b.WriteString("\nOtherwise `ssh` exits with the status of the remote command, or with 128 and the number of the signal that ended it.\n")
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
