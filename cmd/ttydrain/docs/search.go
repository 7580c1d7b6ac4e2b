package docs

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// Limits of a search.
const (
	maxQueryWords = 8
	maxHits       = 30
	excerptRunes  = 180
)

// A Hit is a section that a search found.
type Hit struct {
	Page    Page
	Section Section
	// PageTitle is the title of the page.
	PageTitle string
	// Excerpt is the part of the section's text around the first word that was found.
	Excerpt string
	score   int
}

// An Index finds sections by their words. It is immutable.
type Index struct {
	entries []entry
}

type entry struct {
	page      Page
	section   Section
	pageTitle string
	// In lower case: the topic with the page's aliases, the heading, and the text.
	names, title, text string
}

// NewIndex returns an index of all pages.
func NewIndex() *Index {
	x := &Index{}
	for _, p := range Pages() {
		names := strings.Join(append([]string{p.Topic, p.Summary}, p.Aliases...), " ")
		sections := Sections(p.Markdown())
		for _, s := range sections {
			e := entry{page: p, section: s, pageTitle: sections[0].Title, title: strings.ToLower(s.Title), text: strings.ToLower(s.Text)}
			if s.Level == 1 {
				e.names = strings.ToLower(names)
			}
			x.entries = append(x.entries, e)
		}
	}
	return x
}

// Search returns the sections that have all words of a query, the best first. A word also finds
// those that it begins. Headings count more than text, and written pages more than generated ones.
func (x *Index) Search(query string) []Hit {
	words := strings.FieldsFunc(strings.ToLower(query), func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
	words = words[:min(len(words), maxQueryWords)]
	if len(words) == 0 {
		return nil
	}
	var hits []Hit
	for _, e := range x.entries {
		score := e.score(words)
		if score == 0 {
			continue
		}
		if strings.HasSuffix(e.page.Topic, "-reference") {
			score = (score + 1) / 2
		}
		hits = append(hits, Hit{Page: e.page, Section: e.section, PageTitle: e.pageTitle, Excerpt: e.excerpt(words), score: score})
	}
	slices.SortStableFunc(hits, func(a, b Hit) int { return cmp.Compare(b.score, a.score) })
	return hits[:min(len(hits), maxHits)]
}

// score returns how well a section fits; 0 if one of the words is missing.
func (e *entry) score(words []string) int {
	total := 0
	for _, w := range words {
		score := 40*occurrences(e.names, w) + 20*occurrences(e.title, w) + min(occurrences(e.text, w), 5)
		if score == 0 {
			return 0
		}
		total += score
	}
	return total
}

// occurrences counts the words of a text that begin with a prefix. It looks no further after five.
func occurrences(text, prefix string) (n int) {
	for from := 0; n < 5; {
		at := wordAt(text[from:], prefix)
		if at < 0 {
			break
		}
		n++
		from += at + len(prefix)
	}
	return n
}

// wordAt returns where the first word with a prefix begins; -1 without one.
func wordAt(text, prefix string) int {
	for from := 0; ; {
		at := strings.Index(text[from:], prefix)
		if at < 0 {
			return -1
		}
		at += from
		if at == 0 || !isWordByte(text[at-1]) {
			return at
		}
		from = at + len(prefix)
	}
}

// isWordByte reports whether a byte continues a word. Names such as ca_file are several words.
func isWordByte(b byte) bool {
	return b >= 0x80 || unicode.IsLetter(rune(b)) || unicode.IsDigit(rune(b))
}

// excerpt returns the part of the text around the first of the words that is in it.
func (e *entry) excerpt(words []string) string {
	at := len(e.text)
	for _, w := range words {
		if i := wordAt(e.text, w); i >= 0 {
			at = min(at, i)
		}
	}
	runes := []rune(e.section.Text)
	first := len([]rune(e.text[:at]))
	if at == len(e.text) {
		first = 0
	}
	begin := max(first-excerptRunes/3, 0)
	end := min(begin+excerptRunes, len(runes))
	text := string(runes[begin:end])
	if begin > 0 { // begin at a word
		if _, rest, found := strings.Cut(text, " "); found {
			text = rest
		}
		text = "… " + text
	}
	if end < len(runes) {
		text = text[:max(strings.LastIndexByte(text, ' '), 0)] + " …"
	}
	return text
}
