package docs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
)

// A Section is a heading of a page with the text up to the next one.
type Section struct {
	// Anchor is the fragment of links to the section, which is the one that code hosts derive.
	Anchor string
	// Title is the text of the heading.
	Title string
	// Level is 1 for the title of the page.
	Level int
	// Text is the text below the heading, on one line.
	Text string
}

// Sections returns the sections of a page in their order.
func Sections(markdown []byte) []Section {
	return sectionsOf(parse(markdown), markdown)
}

func sectionsOf(document ast.Node, source []byte) []Section {
	var sections []Section
	var anchors []string
	for n := document.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			title := strings.Join(plainWords(h, source), " ")
			anchor := uniqueAnchor(title, anchors)
			anchors = append(anchors, anchor)
			sections = append(sections, Section{Anchor: anchor, Title: title, Level: h.Level})
			continue
		}
		if last := len(sections) - 1; last >= 0 {
			more := strings.Join(plainWords(n, source), " ")
			sections[last].Text = strings.TrimSpace(sections[last].Text + " " + more)
		}
	}
	return sections
}

// uniqueAnchor returns the anchor of a heading: GitHub's rule.
func uniqueAnchor(title string, taken []string) string {
	anchor := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, title)
	for i, base := 1, anchor; slices.Contains(taken, anchor); i++ {
		anchor = fmt.Sprintf("%s-%d", base, i)
	}
	return anchor
}

// plainWords returns the words of a block and of those in it, without Markdown.
func plainWords(n ast.Node, source []byte) []string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n.Type() == ast.TypeBlock && !entering {
			b.WriteByte(' ')
		}
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			text := string(n.Segment.Value(source))
			if n.Parent().Kind() != ast.KindCodeSpan {
				text = unescape(text)
			}
			b.WriteString(text)
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.AutoLink:
			b.Write(n.URL(source))
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				b.Write(line.Value(source))
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.Fields(b.String())
}
