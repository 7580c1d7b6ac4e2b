package docs

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
)

// A block is a heading, a paragraph, an item of a list or a cell of a table, without Markdown. Code
// in it is the word code.
type block struct {
	text string
	// isTitle is true of headings and of cells of tables, which need not be sentences.
	isTitle bool
}

// prose returns the blocks of a document. Code blocks are not prose.
func prose(markdown []byte) (blocks []block) {
	walk(markdown, func(n ast.Node) {
		switch n.Kind() {
		case ast.KindHeading, ast.KindParagraph, ast.KindTextBlock, extast.KindTableCell:
		default:
			return
		}
		var b strings.Builder
		inline(&b, n, markdown)
		isTitle := n.Kind() == ast.KindHeading || n.Kind() == extast.KindTableCell
		if text := strings.Join(strings.Fields(b.String()), " "); text != "" {
			blocks = append(blocks, block{text, isTitle})
		}
	})
	return blocks
}

// inline writes the text of the children of n.
func inline(b *strings.Builder, n ast.Node, source []byte) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.WriteString(unescape(string(c.Segment.Value(source))))
			if c.SoftLineBreak() || c.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.CodeSpan:
			b.WriteString("code")
		case *ast.AutoLink:
		default:
			inline(b, c, source)
		}
	}
}

// written are the documents that people write and not programs.
func written(t *testing.T) map[string][]byte {
	all := documents(t)
	maps.DeleteFunc(all, func(file string, _ []byte) bool {
		return strings.HasSuffix(file, "-reference.md") || strings.HasPrefix(file, "bench/")
	})
	if len(all) < 25 {
		t.Fatalf("found %d documents, expected more: the test looks in the wrong place", len(all))
	}
	return all
}

// dictionary is the file with the words of the field, one a line, which the English dictionary
// lacks.
const dictionary = "testdata/words.txt"

// misspelled returns the words of a text that are neither in the British dictionary of Hunspell nor
// in the file of the field's words.
func misspelled(t *testing.T, text string) []string {
	t.Helper()
	program, err := exec.LookPath("hunspell")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: hunspell is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: hunspell is not installed (hunspell, hunspell-en-gb)")
	}
	c := exec.Command(program, "-d", "en_GB", "-p", dictionary, "-i", "utf-8", "-l")
	c.Stdin = strings.NewReader(text)
	var problems bytes.Buffer
	c.Stderr = &problems
	output, err := c.Output()
	if err != nil || problems.Len() > 0 {
		t.Fatalf("hunspell: %v\n%s", err, &problems)
	}
	words := strings.Fields(string(output))
	slices.Sort(words)
	return slices.Compact(words)
}

// words returns the words of a text that can be misspelled: not names of files, hosts, settings or
// alerts.
func words(text string) (found []string) {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("()[]{}“”\"…→←", r) }) {
		w = strings.Trim(w, ".,;:!?'’")
		w = strings.TrimSuffix(strings.TrimSuffix(w, "'s"), "’s")
		isAlert := strings.HasPrefix(w, "Ttydrain")
		if !isAlert && !strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsLetter(r) && r != '-' && r != '\'' && r != '’' }) {
			found = append(found, w)
		}
	}
	return found
}

// TestSpelling checks the words of all documents. A word of the field belongs in the dictionary
// file.
func TestSpelling(t *testing.T) {
	where := make(map[string]string) // a word, and a document with it
	for file, text := range documents(t) {
		for _, b := range prose(text) {
			if b.isTitle && strings.HasSuffix(file, "-reference.md") {
				continue // keys and commands
			}
			for _, w := range words(b.text) {
				where[w] = file
				for part := range strings.SplitSeq(w, "-") {
					where[part] = file
				}
			}
		}
	}
	if len(where) < 1000 {
		t.Fatalf("found %d words, expected more: the test looks in the wrong place", len(where))
	}
	for _, w := range misspelled(t, strings.Join(slices.Collect(maps.Keys(where)), "\n")) {
		t.Errorf("%s: %q is in no dictionary: correct it, or add it to %s", where[w], w, dictionary)
	}
	data, err := os.ReadFile(dictionary)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(strings.Fields(string(data))) {
		t.Errorf("%s is not sorted", dictionary)
	}
}

// TestSpellingFindsMistakes checks the check.
func TestSpellingFindsMistakes(t *testing.T) {
	got := misspelled(t, strings.Join(words("A recieved record's end is `code` (a segmnet), organization, colour and NATS."), "\n"))
	if want := []string{"recieved", "segmnet"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Bounds on how hard a page is to read.
const (
	maxGrade         = 9.0 // Flesch–Kincaid: years of school
	maxSentenceWords = 40
)

// sentences divides a block after each full stop, exclamation mark and question mark.
func sentences(text string) (found []string) {
	begin := 0
	for i, r := range text {
		if strings.ContainsRune(".!?", r) && (i+1 == len(text) || text[i+1] == ' ') {
			found = append(found, text[begin:i+1])
			begin = i + 1
		}
	}
	if strings.TrimSpace(text[begin:]) != "" {
		found = append(found, text[begin:])
	}
	return found
}

// syllables estimates the syllables of an English word: its groups of vowels, less a silent e.
func syllables(word string) int {
	word = strings.ToLower(word)
	n, inVowel := 0, false
	for _, r := range word {
		isVowel := strings.ContainsRune("aeiouy", r)
		if isVowel && !inVowel {
			n++
		}
		inVowel = isVowel
	}
	if n > 1 && strings.HasSuffix(word, "e") && !strings.HasSuffix(word, "le") {
		n--
	}
	if n > 1 && strings.HasSuffix(word, "ed") && !strings.HasSuffix(word, "ted") && !strings.HasSuffix(word, "ded") {
		n--
	}
	return max(n, 1)
}

// A readability counts what the grade of a text is computed from.
type readability struct {
	words, sentences, syllables int
	longest                     string // the longest sentence
	longestWords                int
}

func (r *readability) add(text string) {
	for _, s := range sentences(text) {
		n := 0
		for w := range strings.FieldsSeq(s) {
			if strings.ContainsFunc(w, unicode.IsLetter) {
				n++
				r.syllables += syllables(strings.TrimFunc(w, func(r rune) bool { return !unicode.IsLetter(r) }))
			}
		}
		if n == 0 {
			continue
		}
		r.words += n
		r.sentences++
		if n > r.longestWords {
			r.longest, r.longestWords = strings.TrimSpace(s), n
		}
	}
}

// grade is the Flesch–Kincaid grade level.
func (r *readability) grade() float64 {
	return 0.39*float64(r.words)/float64(r.sentences) + 11.8*float64(r.syllables)/float64(r.words) - 15.59
}

// TestReadability checks that every page can be read by somebody who has been at school for ten
// years, and that no sentence is very long. Headings and tables are exempt.
func TestReadability(t *testing.T) {
	for file, text := range written(t) {
		var r readability
		for _, b := range prose(text) {
			if !b.isTitle {
				r.add(b.text)
			}
		}
		t.Logf("%-22s grade %4.1f, %4d words, the longest sentence has %d words", path.Base(file), r.grade(), r.words, r.longestWords)
		if r.grade() > maxGrade {
			t.Errorf("%s: the reading grade is %.1f, want at most %.1f: use shorter words and sentences", file, r.grade(), maxGrade)
		}
		if r.longestWords > maxSentenceWords {
			t.Errorf("%s: a sentence of %d words, want at most %d: %s", file, r.longestWords, maxSentenceWords, r.longest)
		}
	}
}

// TestGrade checks the check with texts of known difficulty.
func TestGrade(t *testing.T) {
	for _, test := range []struct {
		text      string
		low, high float64
	}{
		{"The cat sat on the mat. It was fat.", -3, 2},
		{"The gateway ends a session when its time is over. Then it writes the last record.", 3, 7},
		{"Notwithstanding the aforementioned considerations, organisational responsibility for the confidentiality of " +
			"particularly sensitive informational resources necessitates comprehensive administrative supervision.", 25, 45},
	} {
		var r readability
		r.add(test.text)
		if g := r.grade(); g < test.low || g > test.high {
			t.Errorf("the grade is %.1f, want %v to %v: %s", g, test.low, test.high, test.text)
		}
	}
	var long readability
	long.add(strings.Repeat("word ", 60))
	if long.longestWords != 60 || fmt.Sprint(sentences("One. Two: three? four")) != "[One.  Two: three?  four]" {
		t.Errorf("%d words, %q", long.longestWords, sentences("One. Two: three? four"))
	}
}

// TestBenchmarkFigures checks that the README has three lines about the benchmark, with figures
// that bench/README.md has, and that no page has figures of its own.
func TestBenchmarkFigures(t *testing.T) {
	all := documents(t)
	_, summary, found := bytes.Cut(all["README.md"], []byte("\n## Performance\n"))
	if !found {
		t.Fatal("README.md has no section Performance")
	}
	if n := bytes.Count(bytes.TrimSpace(summary), []byte("\n")) + 1; n > 3 {
		t.Errorf("the section has %d lines, want at most 3", n)
	}
	figures := regexp.MustCompile(`\d[\d,.]*\d`).FindAll(summary, -1)
	if len(figures) < 3 {
		t.Errorf("found the figures %q, expected more: the test looks in the wrong place", figures)
	}
	for _, f := range figures {
		if !bytes.Contains(all["bench/README.md"], f) {
			t.Errorf("README.md has the figure %s, and bench/README.md does not", f)
		}
	}
	rate := regexp.MustCompile(`\d\s+(records|messages|sessions|lines)\s+(a|per)\s+second`)
	for file, text := range all {
		if m := rate.Find(text); m != nil && !strings.HasSuffix(file, "README.md") {
			t.Errorf("%s has a figure of the benchmark, %q: it belongs in bench/README.md", file, m)
		}
	}
}
