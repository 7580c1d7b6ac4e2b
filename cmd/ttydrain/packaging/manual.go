package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// commandManuals returns a manual page of each command by its file's name, from the reference of
// commands: cobra's own generator would make the binary larger by a Markdown parser.
func commandManuals(reference []byte, at time.Time) (map[string][]byte, error) {
	sections := strings.Split(string(reference), "\n## ")[1:]
	shorts := make(map[string]string)
	helps := make(map[string]string)
	statuses := ""
	for _, section := range sections {
		command, rest, _ := strings.Cut(section, "\n")
		if command == "Exit statuses" {
			statuses = link.ReplaceAllString(rest, "$1")
			continue
		}
		_, help, ok := strings.Cut(rest, "```text\n")
		help, _, closed := strings.Cut(help, "\n```")
		if !ok || !closed {
			return nil, fmt.Errorf("the command %s has no help", command)
		}
		helps[command] = help
		for _, found := range listed.FindAllStringSubmatch(help, -1) {
			shorts[command+" "+found[1]] = found[2]
		}
	}
	if len(helps) < 10 {
		return nil, errors.New("the reference of commands has fewer than 10 commands")
	}
	pages := make(map[string][]byte)
	for command, help := range helps {
		name := strings.ReplaceAll(command, " ", "-")
		text, usage, _ := strings.Cut("\n"+help, "\nUsage:\n")
		if command == "ttydrain" {
			shorts[command] = strings.TrimSpace(text)
		}
		var page strings.Builder
		fmt.Fprintf(&page, "%% %s 1 %q \"ttydrain\" \"User Commands\"\n\n# NAME\n\n%s - %s\n\n# SYNOPSIS\n\n```\n",
			strings.ToUpper(name), at.Format("January 2006"), name, escapeText(shorts[command]))
		for line := range strings.Lines(usage + "\n") {
			if title, ok := strings.CutSuffix(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, " ") {
				fmt.Fprintf(&page, "```\n\n# %s\n\n```\n", strings.ToUpper(title))
				continue
			}
			page.WriteString(line)
		}
		if command == "ttydrain" && statuses != "" {
			fmt.Fprintf(&page, "```\n\n# EXIT STATUS\n%s\n", statuses)
		} else {
			page.WriteString("```\n")
		}
		fmt.Fprintf(&page, "\n# DESCRIPTION\n\n%s\n\n# SEE ALSO\n\nttydrain(1), ttydrain.yaml(5), and the command `ttydrain docs`\n",
			escapeText(strings.TrimSpace(text)))
		pages[name+".1"] = md2man.Render([]byte(page.String()))
	}
	return pages, nil
}

// listed matches a command in the help of the one above it.
var listed = regexp.MustCompile(`(?m)^  ([a-z]+) +([A-Z].*)$`)

// escapeText escapes what Markdown would read as formatting.
func escapeText(text string) string {
	return regexp.MustCompile("[*_`<>#\\[\\]|]").ReplaceAllString(text, `\$0`)
}

// link matches a link of Markdown, of which a manual page keeps the text.
var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

// configurationManual returns the manual page of the configuration, from its reference.
func configurationManual(reference []byte, at time.Time) []byte {
	_, text, _ := bytes.Cut(reference, []byte("-->\n"))
	text = link.ReplaceAll(text, []byte("$1"))
	page := fmt.Sprintf("%% TTYDRAIN.YAML 5 %q \"ttydrain\" \"File Formats\"\n\n# NAME\n\nttydrain.yaml - the configuration of ttydrain\n\n"+
		"# DESCRIPTION\n%s", at.Format("January 2006"), text)
	return md2man.Render([]byte(page))
}
