package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

func itoa(n int) string { return strconv.Itoa(n) }

// syntaxError is a mistake in the text of the file, which keeps it from being read.
type syntaxError struct {
	at      place
	code    Code
	message string
}

// checkText checks that data is text that YAML permits (YAML 1.2.2 §5.1), in UTF-8; nil if it is.
func checkText(data []byte) *syntaxError {
	start := place{line: 1, column: 1}
	const notUTF8 = "; expected UTF-8: save it so, or convert it with iconv -f %s -t UTF-8"
	for _, encoding := range []struct{ name, begin string }{
		{"UTF-32", "\xff\xfe\x00\x00"}, {"UTF-32", "\x00\x00\xfe\xff"}, {"UTF-16", "\xff\xfe"}, {"UTF-16", "\xfe\xff"},
	} {
		if bytes.HasPrefix(data, []byte(encoding.begin)) {
			return &syntaxError{start, codeEncoding, "is text in " + encoding.name + fmt.Sprintf(notUTF8, encoding.name)}
		}
	}
	if len(data) > 1 && (data[0] == 0) != (data[1] == 0) {
		name := "UTF-16LE"
		if data[0] == 0 {
			name = "UTF-16BE"
		}
		return &syntaxError{start, codeEncoding, "is text in UTF-16" + fmt.Sprintf(notUTF8, name)}
	}
	at := start
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return &syntaxError{at, codeEncoding, fmt.Sprintf("has the byte 0x%02X here, which is not UTF-8"+notUTF8, data[0], "ISO-8859-1")}
		case unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' && r != '\u0085':
			return &syntaxError{at, codeEncoding, fmt.Sprintf("has the control character U+%04X here; expected text without it", r)}
		case r == '\n':
			at.line, at.column = at.line+1, 0
		}
		at.column++
		data = data[size:]
	}
	return nil
}

// always returns a mistake that the parser would not notice; nil if there is none.
func (l *layout) always() *syntaxError {
	switch {
	case l.space.line > 0:
		return &syntaxError{l.space, codeSpace, "has a no-break space or another special space here, which YAML takes for a letter; expected an ordinary space"}
	case l.curly.line > 0:
		return &syntaxError{l.curly, codeSpace, "begins with a typographic quote; expected \" or ' as on the keyboard, or such a quote around it"}
	case l.unclosed != nil && l.unclosed.closedBy != 0 && l.longQuote == nil:
		return l.explainBrackets()
	case l.comma.line > 0:
		return &syntaxError{l.comma, codeBracket, "the value that begins here is followed by another key; expected a comma before that key, or quotes around a value with \": \" in it"}
	}
	return nil
}

// explain returns the mistake that makes the parser refuse a text, with its message at t, which may
// be nil.
func (l *layout) explain(message string, t *token.Token) *syntaxError {
	at := place{line: 1, column: 1}
	if t != nil && t.Position != nil {
		at = place{line: t.Position.Line, column: t.Position.Column}
		if t.Type == token.MappingStartType && t.Prev != nil && strings.HasSuffix(t.Prev.Value, "$") {
			return &syntaxError{at, codeVariable, `a brace begins a mapping here; expected quotes around a value with ${ in it: "${NAME}"`}
		}
	}
	if t != nil && (t.Type == token.AnchorType || t.Type == token.AliasType || t.Type == token.TagType || t.Type == token.MergeKeyType) {
		return &syntaxError{at, codeAnchor, noAnchors}
	}
	if message == "unexpected scalar value type" { // of an alias without a name
		return &syntaxError{at, codeAnchor, noAnchors}
	}
	if l.tab.line > 0 {
		return &syntaxError{l.tab, codeTab, "is indented with a tab; expected spaces, which YAML requires"}
	}
	if q := l.longQuote; q != nil {
		end := "never ends"
		if q.end > 0 {
			end = "ends only in line " + itoa(q.end)
		}
		return &syntaxError{q.at, codeQuote, "the text in quotes that begins here " + end + "; expected the closing quote in this line"}
	}
	if e := l.explainBrackets(); e != nil {
		return e
	}
	for _, known := range parserMessages {
		for _, part := range known.parts {
			if strings.Contains(message, part) {
				return &syntaxError{at, known.code, known.message}
			}
		}
	}
	if e := l.explainLines(); e != nil {
		return e
	}
	return &syntaxError{at, codeSyntax, "cannot be read as YAML from here on; expected KEY: VALUE in each line, with the indentation of its neighbours"}
}

func (l *layout) explainBrackets() *syntaxError {
	if b := l.unclosed; b != nil {
		closing, opening := "}", "["
		if b.char == '[' {
			closing, opening = "]", "{"
		}
		if b.closedBy != 0 {
			return &syntaxError{b.at, codeBracket, fmt.Sprintf("the %q that begins here meets %q in line %d, column %d; expected %q before it, or %q where that one begins", b.char, b.closedBy, b.closedAt.line, b.closedAt.column, closing, opening)}
		}
		return &syntaxError{b.at, codeBracket, fmt.Sprintf("the %q that begins here is never closed; expected %q", b.char, closing)}
	}
	switch {
	case l.extra.line > 0:
		return &syntaxError{l.extra, codeBracket, "has a closing bracket without an opening one here; expected it left out"}
	case l.trailing.line > 0:
		return &syntaxError{l.trailing, codeQuote, "has text here after a closing quote or bracket; expected a comma, the end of the line, or quotes around all of the value"}
	}
	return nil
}

// explainLines returns the first line that does not fit its neighbours.
func (l *layout) explainLines() *syntaxError {
	indented, message := l.indentation()
	for i := range l.lines {
		line := &l.lines[i]
		if indented.line > 0 && indented.line <= line.number {
			break
		}
		switch {
		case len(line.colons) > 1:
			return &syntaxError{place{line: line.number, column: line.colons[1] + 1}, codeColon, "has a second \": \" in one line; expected quotes around a value with a colon in it, or one field a line"}
		case !line.bare || len(line.colons) > 0 || len(line.items) > 0 || line.number > 1 && i > 0 && l.lines[i-1].scalar && line.key > l.lines[i-1].key:
		case line.joined:
			return &syntaxError{place{line: line.number, column: line.key + 1}, codeColon, "has no space after the colon; expected KEY: VALUE"}
		case line.equals:
			return &syntaxError{place{line: line.number, column: line.key + 1}, codeColon, "has an equals sign and no colon; expected KEY: VALUE"}
		default:
			return &syntaxError{place{line: line.number, column: line.key + 1}, codeColon, "has no colon; expected KEY: VALUE, or a dash before an item of a list"}
		}
	}
	if indented.line > 0 {
		return &syntaxError{indented, codeIndentation, message}
	}
	return nil
}

const noAnchors = "anchors, aliases, merge keys and tags (&, *, <<, !) are not supported; expected the value itself, written out or in quotes"

// parserMessages explains messages of github.com/goccy/go-yaml that name the mistake well enough.
// Others describe what the parser expected, which is rarely what is wrong.
var parserMessages = []struct {
	parts   []string
	code    Code
	message string
}{
	{[]string{"escape character", "escaped UTF", "surrogate"}, codeQuote, "has a backslash in double quotes here that begins no known escape; expected single quotes, or \\\\ for a backslash"},
	{[]string{"reserved character", "directive"}, codeQuote, "a value cannot begin with this character; expected quotes around it"},
	{[]string{"header option", "multi-line content", "literal content"}, codeSyntax, "has text after \"|\" or \">\"; expected the text in the lines below, indented"},
	{[]string{"anchor", "alias", "merge key", "tag"}, codeAnchor, noAnchors},
	{[]string{"document separator"}, codeDocuments, "has text in the line of \"---\" or \"...\"; expected a line of its own"},
	{[]string{"implicit line break"}, codeColon, "has a name of a field that goes on in the next line; expected KEY: VALUE in one line"},
}
