package docs

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
)

// codeHost is the base of links to files of the repository.
const codeHost = "https://github.com/ttydrain/ttydrain/blob/main/"

// HTML returns Markdown as HTML without scripts, styles or images. Each heading has its anchor, and
// links to it. Links to other pages begin with base; an image becomes a link to the code host.
func HTML(markdown []byte, base string) (string, error) {
	document := parse(markdown)
	sections := sectionsOf(document, markdown)
	for n := document.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			h.SetAttributeString("id", []byte(sections[0].Anchor))
			linkTo(h, sections[0].Anchor)
			sections = sections[1:]
		}
	}
	redirectLinks(document, base)
	converter := goldmark.New(goldmark.WithExtensions(
		extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)))) // no inline styles
	var b bytes.Buffer
	if err := converter.Renderer().Render(&b, markdown, document); err != nil {
		return "", fmt.Errorf("rendering HTML: %w", err)
	}
	return focusable.Replace(b.String()), nil
}

// focusable makes what may be wider than the window scroll with the keyboard. Code cannot contain
// these tags, since it is escaped.
var focusable = strings.NewReplacer("<pre>", `<pre tabindex="0">`,
	"<table>", `<div class="scroll" tabindex="0"><table>`, "</table>", "</table></div>")

// linkTo makes the text of a heading a link to its anchor.
func linkTo(h *ast.Heading, anchor string) {
	link := ast.NewLink()
	link.Destination = []byte("#" + anchor)
	for c := h.FirstChild(); c != nil; c = h.FirstChild() {
		link.AppendChild(link, c) // which removes it from the heading
	}
	h.AppendChild(h, link)
}

// redirectLinks changes the targets of relative links, and images into links.
func redirectLinks(document ast.Node, base string) {
	var images []*ast.Image
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			n.Destination = []byte(target(string(n.Destination), base))
		case *ast.Image:
			images = append(images, n)
		}
		return ast.WalkContinue, nil
	})
	for _, image := range images {
		link := ast.NewLink()
		link.Destination = []byte(target(string(image.Destination), base))
		for c := image.FirstChild(); c != nil; c = image.FirstChild() {
			link.AppendChild(link, c)
		}
		image.Parent().ReplaceChild(image.Parent(), image, link)
	}
}

// target returns where a link of a page leads outside of the repository.
func target(destination, base string) string {
	file, fragment, _ := strings.Cut(destination, "#")
	switch {
	case strings.Contains(destination, "://"), strings.HasPrefix(destination, "mailto:"), file == "":
		return destination
	case path.Ext(file) == ".md" && path.Base(file) == file:
		file = base + strings.TrimSuffix(file, ".md")
	default:
		file = codeHost + path.Join("cmd/ttydrain/docs", file)
	}
	if fragment != "" {
		file += "#" + fragment
	}
	return file
}
