package docs

import (
	"fmt"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

// A Terminal is what pages are rendered for.
type Terminal struct {
	// Width is the number of columns.
	Width int
	// Colour permits escape sequences.
	Colour bool
}

// Render returns Markdown as text for a terminal: headings and code are highlighted, paragraphs and
// the cells of tables are wrapped to the width, code is not.
func Render(markdown []byte, t Terminal) string {
	r := &renderer{source: markdown, terminal: t}
	r.blocks(parse(markdown), "")
	return strings.TrimRight(r.out.String(), "\n") + "\n"
}

// parse returns the document of a page. Its headings have the identifiers that links refer to.
func parse(markdown []byte) ast.Node {
	return goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(markdown))
}

// A renderer writes the blocks of one document.
type renderer struct {
	source   []byte
	terminal Terminal
	out      strings.Builder
}

// blocks renders the children of n, each line of them after the indent.
func (r *renderer) blocks(n ast.Node, indent string) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Heading:
			r.heading(c, indent)
		case *ast.Paragraph:
			r.paragraph(indent, indent, r.words(c, ""))
			r.out.WriteString("\n")
		case *ast.TextBlock: // a paragraph of a tight list
			r.paragraph(indent, indent, r.words(c, ""))
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			r.code(c, indent)
		case *ast.List:
			r.list(c, indent)
		case *ast.Blockquote:
			r.blocks(c, indent+"│ ")
		case *ast.ThematicBreak:
			r.out.WriteString(indent + strings.Repeat("─", max(r.terminal.Width-len(indent), 3)) + "\n\n")
		case *extast.Table:
			r.table(c, indent)
		case *ast.HTMLBlock: // a comment, such as a marker of a generated part
		default:
			r.blocks(c, indent)
		}
	}
}

func (r *renderer) heading(h *ast.Heading, indent string) {
	style := styleBold
	if h.Level == 1 {
		style = styleTitle
	}
	words := r.words(h, style)
	if !r.terminal.Colour {
		marks := strings.Repeat("#", h.Level)
		words = append([]word{{text: marks, width: len(marks)}}, words...)
	}
	r.paragraph(indent, indent, words)
	r.out.WriteString("\n")
}

// paragraph writes words in lines of at most the terminal's width. The first line begins with
// first, the others with indent.
func (r *renderer) paragraph(first, indent string, words []word) {
	for i, line := range wrap(words, r.terminal.Width-width(indent)) {
		if i == 0 {
			r.out.WriteString(first)
		} else {
			r.out.WriteString(indent)
		}
		r.out.WriteString(line.text)
		r.out.WriteString("\n")
	}
}

func (r *renderer) code(n ast.Node, indent string) {
	lines := n.Lines()
	for i := range lines.Len() {
		segment := lines.At(i)
		line := strings.TrimRight(string(segment.Value(r.source)), "\n")
		r.out.WriteString(strings.TrimRight(indent+"    "+r.styled(line, styleCode), " ") + "\n")
	}
	r.out.WriteString("\n")
}

func (r *renderer) list(l *ast.List, indent string) {
	number := l.Start
	for item := l.FirstChild(); item != nil; item = item.NextSibling() {
		bullet := "- "
		if l.IsOrdered() {
			bullet = fmt.Sprintf("%d. ", number)
			number++
		}
		// The item is rendered with an indent, whose first occurrence becomes the bullet.
		inner := &renderer{source: r.source, terminal: r.terminal}
		inner.blocks(item, indent+strings.Repeat(" ", len(bullet)))
		body := strings.TrimRight(inner.out.String(), "\n")
		r.out.WriteString(indent + bullet + strings.TrimPrefix(body, indent+strings.Repeat(" ", len(bullet))) + "\n")
		if !l.IsTight {
			r.out.WriteString("\n")
		}
	}
	if l.IsTight {
		r.out.WriteString("\n")
	}
}
