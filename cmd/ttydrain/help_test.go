package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// walk calls f for each command except the root.
func walk(c *cobra.Command, f func(*cobra.Command)) {
	for _, below := range c.Commands() {
		f(below)
		walk(below, f)
	}
}

func TestCommandsAreInGroups(t *testing.T) {
	root := newRootCommand()
	var named []string
	for _, g := range commandGroups() {
		named = append(named, g.commands...)
	}
	for _, c := range root.Commands() {
		if c.GroupID == "" || !root.ContainsGroup(c.GroupID) {
			t.Errorf("%s is in no group", c.Name())
		}
		if i := slices.Index(named, c.Name()); i >= 0 {
			named = slices.Delete(named, i, i+1)
		}
	}
	if len(named) > 0 {
		t.Errorf("in groups, and no commands, or twice: %v", named)
	}
}

// shellEnd matches the end of the first command in a line of a shell.
var shellEnd = regexp.MustCompile(`\s+(\||>|&&|<).*$`)

// TestExamples checks that each command has two examples or more, which use existing flags.
func TestExamples(t *testing.T) {
	checked := 0
	walk(newRootCommand(), func(c *cobra.Command) {
		own := 0
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			words := strings.Fields(shellEnd.ReplaceAllString(line, ""))
			if len(words) == 0 || words[0] != "ttydrain" {
				t.Errorf("%s: the example %q does not begin with ttydrain", c.CommandPath(), line)
				continue
			}
			if strings.HasPrefix(line, c.CommandPath()) {
				own++
			}
			found, rest, err := newRootCommand().Find(words[1:])
			if err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil && err != pflag.ErrHelp {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
			}
			checked++
		}
		if own < 2 {
			t.Errorf("%s has %d examples, want two", c.CommandPath(), own)
		}
	})
	if checked == 0 {
		t.Error("there are no examples")
	}
}

// TestTimeFlags checks that all flags for a time have the same syntax.
func TestTimeFlags(t *testing.T) {
	var found []string
	walk(newRootCommand(), func(c *cobra.Command) {
		if (c.Flag("since") == nil) != (c.Flag("until") == nil) {
			t.Errorf("%s has one of --since and --until", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, isTime := f.Value.(*timeflag.Value)
			if named := slices.Contains([]string{"since", "until", "to"}, f.Name); named != isTime {
				t.Errorf("%s --%s has the type %T", c.CommandPath(), f.Name, f.Value)
			}
			if !isTime {
				return
			}
			found = append(found, strings.TrimPrefix(c.CommandPath(), "ttydrain ")+" --"+f.Name)
			for _, text := range []string{"24h", "7d", "2026-01-31", "2026-01-31 09:30:00", "2026-01-31T09:30:00Z", time.Now().Format(time.RFC3339Nano)} {
				if err := c.ParseFlags([]string{"--" + f.Name, text}); err != nil {
					t.Errorf("%s --%s %s: %v", c.CommandPath(), f.Name, text, err)
				}
			}
			if err := c.ParseFlags([]string{"--" + f.Name, "yesterday"}); err == nil {
				t.Errorf("%s --%s yesterday is accepted", c.CommandPath(), f.Name)
			}
		})
	})
	for _, want := range []string{"audit --until", "replay --until", "export --until", "tail --until", "sessions list --until", "deadletters list --until", "drains rewind --to"} {
		if !slices.Contains(found, want) {
			t.Errorf("%s is not a flag for a time", want)
		}
	}
}
