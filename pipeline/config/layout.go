package config

import (
	"strings"
	"unicode"
)

// layout is the structure of a YAML text as far as it explains an error of the parser, whose own
// words describe its state instead of the mistake: lines with their indentation, brackets and
// quotes. It is not a parser: what it notices is a mistake only if the parser refuses the text,
// except for the fields space, curly and comma.
type layout struct {
	lines []layoutLine // lines that begin outside of brackets, quotes and block scalars

	tab   place // indentation with a tab
	space place // a space next to punctuation that YAML does not take for one
	curly place // a typographic quote where a value begins
	comma place // a value in brackets that goes on after the comma that is missing

	unclosed  *bracket // never closed, or closed by one of the other kind
	extra     place    // a closing bracket without an opening one
	longQuote *quoted  // that ends on another line, or never
	trailing  place    // text after a closing quote or bracket

	// State of the scan.

	brackets    []bracket
	quote       rune // that is open; 0 for none
	quoteAt     place
	indent      int // of the current line
	blockIndent int // of the key with a block scalar; -1 outside of one
}

// bracket is an opening "{" or "[".
type bracket struct {
	at   place
	char rune
	// indent is that of its line.
	indent int
	// closedBy is the closing bracket of the other kind, and closedAt its position; 0 for none.
	closedBy rune
	closedAt place
	// colons is the number of colons since the last comma.
	colons int
	value  place // where the current value begins
}

// quoted is a text in quotes that ends on another line.
type quoted struct {
	at  place
	end int // its last line; 0 if it never ends
}

// layoutLine is a line of the block structure.
type layoutLine struct {
	number int
	items  []int // columns, from 0, of the dashes of list items
	key    int   // column of what follows the dashes
	colons []int // columns of the colons that end a key
	equals bool  // there is an "=" between spaces
	joined bool  // there is a colon without a space after it
	bare   bool  // it begins with plain text
	empty  bool  // nothing follows the last dash or colon: a block may be nested below
	scalar bool  // its value, or the line itself, is plain text that may go on below
}

// first returns the column at which the line begins.
func (l *layoutLine) first() int {
	if len(l.items) > 0 {
		return l.items[0]
	}
	return l.key
}

func scanLayout(text string) *layout {
	l := &layout{blockIndent: -1}
	for i, line := range strings.Split(text, "\n") {
		l.scanLine(i+1, []rune(line))
	}
	if l.quote != 0 {
		l.longQuote = &quoted{at: l.quoteAt}
	}
	if n := len(l.brackets); n > 0 && l.unclosed == nil {
		l.unclosed = &l.brackets[n-1]
	}
	return l
}

func (l *layout) scanLine(number int, r []rune) {
	start := 0
	for start < len(r) && (r[start] == ' ' || r[start] == '\t' || isOddSpace(r[start])) {
		start++
	}
	if l.blockIndent >= 0 {
		if start == len(r) || start > l.blockIndent {
			return
		}
		l.blockIndent = -1
	}
	at := func(i int) place { return place{line: number, column: i + 1} }
	var line *layoutLine // nil within brackets and quotes
	i := start
	if l.quote == 0 {
		if start == len(r) || r[start] == '#' {
			return
		}
		for j, c := range r[:start] {
			switch {
			case isOddSpace(c):
				note(&l.space, at(j))
			case c == '\t' && len(l.brackets) == 0:
				note(&l.tab, at(j))
			}
		}
	}
	if l.quote == 0 && len(l.brackets) == 0 {
		if text := string(r); start == 0 && (text[0] == '%' || strings.HasPrefix(text, "---") || strings.HasPrefix(text, "...")) {
			return // a directive, or the begin or end of a document
		}
		line = &layoutLine{number: number, empty: true}
		for i < len(r) && r[i] == '-' && (i+1 == len(r) || isBlank(r[i+1])) {
			line.items = append(line.items, i)
			for i++; i < len(r) && isBlank(r[i]); i++ {
			}
		}
		line.key = i
	}
	l.indent = start
	l.scanText(line, r, i, at)
	if line != nil {
		l.lines = append(l.lines, *line)
	}
}

// scanText scans the rest of a line from column i on. line is nil if the line begins within
// brackets or quotes.
func (l *layout) scanText(line *layoutLine, r []rune, i int, at func(int) place) {
	begins := true  // a value may begin here
	closed := false // a quote or a bracket was closed before
	for ; i < len(r); i++ {
		c, next := r[i], rune(0)
		if i+1 < len(r) {
			next = r[i+1]
		}
		if l.quote != 0 {
			i, closed = l.scanQuoted(r, i, at)
			continue
		}
		depth := len(l.brackets)
		switch {
		case isBlank(c):
			continue
		case c == '#' && (i == 0 || isBlank(r[i-1])):
			return
		case isOddSpace(c):
			if begins || next == 0 || isBlank(next) || strings.ContainsRune(",:]}", next) {
				note(&l.space, at(i))
			}
			continue
		case c == '?' && begins && (next == 0 || isBlank(next)):
			continue
		case (c == '&' || c == '!') && begins: // an anchor or a tag
			for i+1 < len(r) && !isBlank(r[i+1]) && !strings.ContainsRune(",]}", r[i+1]) {
				i++
			}
			continue
		case c == ':' && (next == 0 || isBlank(next) || isOddSpace(next) || depth > 0 && (closed || strings.ContainsRune(",[]{}", next))):
			if depth > 0 {
				b := &l.brackets[depth-1]
				b.colons++
				switch {
				case b.colons < 2 || l.unclosed != nil:
				case at(0).line > b.at.line && l.indent <= b.indent: // a field of the block around it
					open := *b
					l.unclosed = &open
				default:
					note(&l.comma, b.value)
				}
				b.value = at(i + 2)
			} else if line != nil {
				line.colons = append(line.colons, i)
				line.empty, line.scalar = true, false
			}
			begins, closed = true, false
			continue
		case c == ',' && depth > 0:
			l.brackets[depth-1].colons = 0
			begins, closed = true, false
			continue
		case (c == '}' || c == ']') && depth > 0:
			b := l.brackets[depth-1]
			l.brackets = l.brackets[:depth-1]
			if (b.char == '{') != (c == '}') && l.unclosed == nil {
				b.closedBy, b.closedAt = c, at(i)
				l.unclosed = &b
			}
			begins, closed = false, true
			continue
		}
		if closed { // text after a closing quote or bracket
			if c == '}' || c == ']' {
				note(&l.extra, at(i))
			} else {
				note(&l.trailing, at(i))
			}
		}
		if line != nil {
			line.empty = false
		}
		switch {
		case (c == '{' || c == '[') && (begins || depth > 0):
			l.brackets = append(l.brackets, bracket{at: at(i), char: c, indent: l.indent})
			begins, closed = true, false
			continue
		case (c == '"' || c == '\'') && begins:
			l.quote, l.quoteAt = c, at(i)
		case (c == '|' || c == '>') && begins && depth == 0 && line != nil:
			l.blockIndent = line.key
			if len(line.colons) == 0 && len(line.items) > 0 {
				l.blockIndent = line.items[len(line.items)-1]
			}
			return
		case strings.ContainsRune("“”„‟«»‘’‚‛", c) && begins:
			note(&l.curly, at(i))
		case line != nil:
			if line.scalar = true; len(line.colons) == 0 {
				line.bare = true
			}
			line.joined = line.joined || c == ':'
			line.equals = line.equals || c == '=' && isBlank(next) && i > 0 && isBlank(r[i-1])
		}
		begins, closed = false, false
	}
}

// scanQuoted handles the character at i inside of quotes. It returns the index of the last
// character that it has handled, and whether the quotes end there.
func (l *layout) scanQuoted(r []rune, i int, at func(int) place) (int, bool) {
	switch {
	case l.quote == '"' && r[i] == '\\', l.quote == '\'' && r[i] == '\'' && i+1 < len(r) && r[i+1] == '\'':
		return i + 1, false
	case r[i] != l.quote:
		return i, false
	}
	l.quote = 0
	if end := at(i).line; end != l.quoteAt.line && l.longQuote == nil {
		l.longQuote = &quoted{l.quoteAt, end}
	}
	return i, true
}

// note sets a place on the first call.
func note(p *place, at place) {
	if p.line == 0 {
		*p = at
	}
}

func isBlank(c rune) bool { return c == ' ' || c == '\t' }

// isOddSpace reports whether a character looks like a space, or like nothing, and is none to YAML.
func isOddSpace(c rune) bool {
	return c != ' ' && unicode.Is(unicode.Zs, c) || c >= 0x200b && c <= 0x200d || c == 0x2060 || c == 0xfeff
}

// level is a mapping or a list of the block structure.
type level struct {
	column, line int
	list         bool
}

// indentation returns the first line that is on no level of the block structure, and what is
// expected instead; 0 if there is none.
func (l *layout) indentation() (at place, message string) {
	var levels []level
	var before *layoutLine
	for i := range l.lines {
		line := &l.lines[i]
		first, isItem := line.first(), len(line.items) > 0
		if before != nil && before.scalar && !isItem && len(line.colons) == 0 && len(levels) > 0 && first > levels[len(levels)-1].column {
			continue // the value goes on
		}
		var left []level // that end before this line
		for n := len(levels) - 1; n >= 0; n-- {
			top := levels[n]
			// A list may begin at the column of the key before it, and end there.
			if top.column < first || top.column == first && (top.list == isItem || isItem) {
				break
			}
			left, levels = append(left, top), levels[:n]
		}
		here := place{line: line.number, column: first + 1}
		switch n := len(levels); {
		case n == 0 && before == nil, before != nil && before.empty && first > before.first():
			// A new level.
		case n == 0 && first >= l.lines[0].first():
		case n == 0:
			outer := l.lines[0]
			return place{line: outer.number, column: outer.first() + 1}, "is indented by " + spaces(outer.first()) + ", and line " +
				itoa(line.number) + " by " + spaces(first) + "; expected the same, since both are on the same level"
		case levels[n-1].column < first:
			return here, "is indented by " + spaces(first) + "; expected " + levelsFor(append(left, levels[n-1]), isItem)
		case levels[n-1].list != isItem && !(isItem && before != nil && before.empty):
			return here, "begins a list item where fields are expected; expected it below the name of a list, or without the dash"
		}
		for _, column := range line.items {
			levels = enter(levels, level{column, line.number, true})
		}
		if len(line.colons) > 0 {
			levels = enter(levels, level{line.key, line.number, false})
		}
		before = line
	}
	return place{}, ""
}

// enter adds a level, unless it is the innermost one already.
func enter(levels []level, new level) []level {
	if n := len(levels); n > 0 && levels[n-1].column == new.column && levels[n-1].list == new.list {
		levels[n-1].line = new.line
		return levels
	}
	return append(levels, new)
}

// levelsFor lists the levels on which a line may be, those of its own kind if there are any.
func levelsFor(levels []level, isItem bool) string {
	var same, all []string
	for _, one := range levels {
		text := spaces(one.column) + ", as in line " + itoa(one.line)
		if all = append(all, text); one.list == isItem {
			same = append(same, text)
		}
	}
	if len(same) > 0 {
		all = same
	}
	return strings.Join(all, ", or ")
}

func spaces(n int) string {
	switch n {
	case 0:
		return "no space"
	case 1:
		return "1 space"
	}
	return itoa(n) + " spaces"
}
