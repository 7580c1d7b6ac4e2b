package docs

import (
	"path"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
	"github.com/yuin/goldmark/ast"
)

// Parameters of the escape sequence SGR.
const (
	styleTitle = "1;4"
	styleBold  = "1"
	styleCode  = "36"
	styleLink  = "4"
)

// A word is text that is not divided between lines. It may have escape sequences, which its width
// does not count.
type word struct {
	text  string
	width int
}

// width returns the number of columns of a text without escape sequences.
func width(text string) int { return displaywidth.String(text) }

// wrap joins words to lines of at most so many columns. A longer word has a line to itself.
func wrap(words []word, columns int) []word {
	var lines []word
	for _, w := range words {
		last := len(lines) - 1
		if last < 0 || lines[last].width+1+w.width > columns {
			lines = append(lines, w)
			continue
		}
		lines[last].text += " " + w.text
		lines[last].width += 1 + w.width
	}
	return lines
}

// styled returns a text in a style, where the terminal has styles.
func (r *renderer) styled(text, style string) string {
	if style == "" || text == "" || !r.terminal.Colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[m"
}

// words returns the words of a block, in a style.
func (r *renderer) words(n ast.Node, style string) []word {
	s := &spelling{renderer: r}
	s.inline(n, style)
	s.space()
	return s.words
}

// spelling collects the words of a block. Pieces in different styles without a space between them
// are one word.
type spelling struct {
	*renderer
	words   []word
	current word
}

// space ends the current word.
func (s *spelling) space() {
	if s.current.width > 0 {
		s.words = append(s.words, s.current)
	}
	s.current = word{}
}

// add adds text in a style, which begins another word at each space.
func (s *spelling) add(text, style string) {
	for text != "" {
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end == 0 {
			s.space()
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
			continue
		}
		if end < 0 {
			end = len(text)
		}
		s.current.text += s.styled(text[:end], style)
		s.current.width += width(text[:end])
		text = text[end:]
	}
}

// inline adds the text of the children of n.
func (s *spelling) inline(n ast.Node, style string) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			s.add(unescape(string(c.Segment.Value(s.source))), style)
			if c.SoftLineBreak() || c.HardLineBreak() {
				s.space()
			}
		case *ast.String:
			s.add(string(c.Value), style)
		case *ast.CodeSpan:
			s.code(c)
		case *ast.Emphasis:
			s.inline(c, styleBold)
		case *ast.Link:
			s.inline(c, styleLink)
			s.target(string(c.Destination))
		case *ast.AutoLink:
			s.add(string(c.URL(s.source)), styleLink)
		case *ast.Image:
			s.add("[image: ", "")
			s.inline(c, "")
			s.add("]", "")
		default:
			s.inline(c, style)
		}
	}
}

// code adds a code span, in a style or between backticks.
func (s *spelling) code(c ast.Node) {
	var code strings.Builder
	for n := c.FirstChild(); n != nil; n = n.NextSibling() {
		if t, ok := n.(*ast.Text); ok {
			code.Write(t.Segment.Value(s.source))
		}
	}
	if s.terminal.Colour {
		s.add(code.String(), styleCode)
		return
	}
	s.add("`"+code.String()+"`", "")
}

// target adds where a link leads: the topic of another page, or an address.
func (s *spelling) target(destination string) {
	file, _, _ := strings.Cut(destination, "#")
	switch {
	case strings.Contains(destination, "://"):
		s.add(" <"+destination+">", "")
	case path.Ext(file) == ".md" && path.Base(file) == file:
		s.add(" ["+strings.TrimSuffix(file, ".md")+"]", "")
	}
}

// unescape removes the backslashes of Markdown before punctuation.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && strings.IndexByte("\\`*_{}[]()<>#+-.!|~", text[i+1]) >= 0 {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
