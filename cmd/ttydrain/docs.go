package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/cmd/ttydrain/docs"
)

// maxPageWidth is the greatest width of a rendered page: longer lines are hard to read.
const maxPageWidth = 110

// The formats of docs.
const (
	docsPage     = "page"
	docsMarkdown = "markdown"
)

func newDocsCommand() *cobra.Command {
	var markdown bool // the old form of --output markdown
	var output, search string
	show := func(text []byte) error {
		if output != docsPage && output != docsMarkdown {
			return usageError{fmt.Errorf("--output %q is not known: expected page or markdown", output)}
		}
		return showText(text, markdown || output == docsMarkdown)
	}
	c := &cobra.Command{
		Use:   "docs [TOPIC|CODE]",
		Short: "Read the documentation",
		Long: "Lists the topics of the documentation, or shows the page of one. On a terminal, a page is rendered and shown with $PAGER (less);\n" +
			"elsewhere it is printed as Markdown. With the code of a message, such as E203, it shows what that means and what to do.\n" +
			"--search finds the sections that have all of some words, or words that begin with them.",
		Example: "  ttydrain docs quickstart\n  ttydrain docs E203\n  ttydrain docs --search \"dead letter\"",
		Args:    knownTopic,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				text, _ := docs.Message(args[0])
				return show(text)
			}
			if search != "" {
				return searchDocs(search)
			}
			table := newTable()
			for _, p := range docs.Pages() {
				fmt.Fprintf(table, "%s\t%s\n", p.Topic, p.Summary)
			}
			return table.Flush()
		},
		SuggestionsMinimumDistance: 2,
	}
	c.Flags().StringVar(&search, "search", "", "list the sections with these `WORDS`, the best first")
	f := c.PersistentFlags()
	f.StringVar(&output, "output", docsPage, "`FORMAT` on a terminal: page or markdown")
	f.BoolVar(&markdown, "markdown", false, "")
	_ = f.MarkDeprecated("markdown", "use --output markdown") // fails only without the flag
	for _, p := range docs.Pages() {
		c.AddCommand(&cobra.Command{Use: p.Topic, Aliases: p.Aliases, Short: p.Summary, Args: cobra.NoArgs,
			Example: "  ttydrain docs " + p.Topic + "\n  ttydrain docs " + p.Topic + " --output markdown > " + p.Topic + ".md",
			RunE:    func(*cobra.Command, []string) error { return show(p.Markdown()) }})
	}
	return c
}

// searchDocs prints the sections that have all words of a query.
func searchDocs(query string) error {
	hits := docs.NewIndex().Search(query)
	if len(hits) == 0 {
		return fmt.Errorf("no section has all words of %q: try fewer words, or their beginnings", query)
	}
	for i, hit := range hits {
		if i > 0 {
			fmt.Println()
		}
		fmt.Printf("%s: %s (ttydrain docs %s)\n    %s\n", hit.PageTitle, hit.Section.Title, hit.Page.Topic, hit.Excerpt)
	}
	return nil
}

// knownTopic refuses every argument but a code: those that are topics are commands of their own.
func knownTopic(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if _, known := docs.Message(args[0]); known && len(args) == 1 {
		return nil
	}
	if len(args[0]) == 4 && strings.ContainsAny(args[0][:1], "EWew") && strings.Trim(args[0][1:], "0123456789") == "" {
		return fmt.Errorf("unknown code %q: \"ttydrain docs errors-reference\" has all", args[0])
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown topic %q, nearest %q", args[0], near[0])
	}
	return fmt.Errorf("unknown topic %q", args[0])
}

// showText renders Markdown for the terminal, and shows it with the user's pager; elsewhere, or
// with plain, it prints it as it is.
func showText(text []byte, plain bool) error {
	if plain || !term.IsTerminal(int(os.Stdout.Fd())) {
		_, err := os.Stdout.Write(text)
		return err
	}
	return showPage(text)
}

func showPage(markdown []byte) error {
	columns, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || columns <= 0 {
		columns = 80
	}
	colour := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	text := docs.Render(markdown, docs.Terminal{Width: min(columns, maxPageWidth), Colour: colour})
	pager, isSet := os.LookupEnv("PAGER")
	if !isSet {
		pager = "less"
	}
	if program, _, _ := strings.Cut(pager, " "); program != "" && program != "cat" {
		if _, err := exec.LookPath(program); err == nil {
			return runPager(pager, text)
		}
	}
	_, err = os.Stdout.WriteString(text)
	return err
}

// runPager shows a text with a pager, which is a command of the shell.
func runPager(pager, text string) error {
	c := exec.Command("/bin/sh", "-c", pager)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(text), os.Stdout, os.Stderr
	c.Env = os.Environ()
	if _, isSet := os.LookupEnv("LESS"); !isSet {
		c.Env = append(c.Env, "LESS=FRX") // colours; no pager for what fits on the screen
	}
	// Ctrl-C is for the pager, which outlives it.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := c.Run(); err != nil {
		return fmt.Errorf("showing the page with %q: %w: set PAGER to another program, or to cat", pager, err)
	}
	return nil
}
