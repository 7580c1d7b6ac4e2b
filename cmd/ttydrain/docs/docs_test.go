package docs

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/yuin/goldmark/ast"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/schema"
)

// root is the root of the repository.
const root = "../../.."

// TestPages checks that every file is a page and has a title and a link in the README, that a name
// finds one page only, and that the pages of a group follow each other.
func TestPages(t *testing.T) {
	names := make(map[string]string)
	readme := documents(t)["README.md"]
	group, groups := "", make(map[string]bool)
	for _, p := range Pages() {
		for _, name := range append([]string{p.Topic}, p.Aliases...) {
			if other, taken := names[name]; taken {
				t.Errorf("%q finds %s and %s", name, other, p.Topic)
			}
			names[name] = p.Topic
		}
		if !bytes.HasPrefix(p.Markdown(), []byte("# ")) {
			t.Errorf("%s.md has no title in its first line", p.Topic)
		}
		if p.Group == "" || p.Group != group && groups[p.Group] {
			t.Errorf("%s: its group %q is empty, or was there before", p.Topic, p.Group)
		}
		group, groups[p.Group] = p.Group, true
		if !bytes.Contains(readme, []byte("(cmd/ttydrain/docs/"+p.Topic+".md)")) {
			t.Errorf("README.md has no link to %s.md", p.Topic)
		}
		if p.Summary == "" || strings.HasSuffix(p.Summary, ".") {
			t.Errorf("%s: summary %q, want a phrase without a full stop", p.Topic, p.Summary)
		}
	}
	found, err := filepath.Glob("*.md")
	if err != nil || len(found) == 0 {
		t.Fatalf("found no pages: %v", err)
	}
	for _, file := range found {
		if names[strings.TrimSuffix(file, ".md")] == "" {
			t.Errorf("%s is no page: add it to Pages", file)
		}
	}
}

// documents returns the Markdown files whose links and prose are checked, by their paths from the
// root of the repository.
func documents(t *testing.T) map[string][]byte {
	t.Helper()
	texts := make(map[string][]byte)
	for _, p := range Pages() {
		texts["cmd/ttydrain/docs/"+p.Topic+".md"] = p.Markdown()
	}
	for _, file := range []string{"README.md", "bench/README.md"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = text
	}
	return texts
}

// TestLinks checks that the target of every relative link exists: the file and, in Markdown, the
// heading.
func TestLinks(t *testing.T) {
	texts := documents(t)
	anchors := make(map[string][]string)
	for file, text := range texts {
		anchors[file] = headings(text)
	}
	checked := 0
	for file, text := range texts {
		for _, link := range links(text) {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			checked++
			target, anchor, hasAnchor := strings.Cut(link, "#")
			if target = path.Join(path.Dir(file), target); strings.HasPrefix(link, "#") {
				target = file
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s: %v", file, link, err)
			}
			known, isDocument := anchors[target]
			if hasAnchor && isDocument && !slices.Contains(known, anchor) {
				t.Errorf("%s: the link %s: %s has no such heading", file, link, target)
			}
		}
	}
	if checked < 100 {
		t.Errorf("found %d links, expected more: the test looks in the wrong place", checked)
	}
}

func links(text []byte) (found []string) {
	walk(text, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			found = append(found, string(n.Destination))
		case *ast.Image:
			found = append(found, string(n.Destination))
		}
	})
	return found
}

// headings returns the anchors of a document's headings.
func headings(text []byte) (anchors []string) {
	for _, s := range Sections(text) {
		anchors = append(anchors, s.Anchor)
	}
	return anchors
}

func walk(text []byte, visit func(ast.Node)) {
	_ = ast.Walk(parse(text), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			visit(n)
		}
		return ast.WalkContinue, nil
	})
}

// TestLineLength checks that lines of prose have at most 120 characters. Tables, code and what the
// benchmark writes are exempt.
func TestLineLength(t *testing.T) {
	for file, text := range documents(t) {
		before, rest, _ := bytes.Cut(text, []byte("<!-- bench:begin -->"))
		_, after, _ := bytes.Cut(rest, []byte("<!-- bench:end -->"))
		for _, part := range [][]byte{before, after} {
			code := false
			for line := range strings.Lines(string(part)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, "```") {
					code = !code
				}
				exempt := code || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "![")
				if n := utf8.RuneCountInString(line); n > 120 && !exempt {
					t.Errorf("%s: a line of %d characters: %s", file, n, line)
				}
			}
		}
	}
}

// TestYAML checks the YAML of the pages against the schema of the configuration. A fragment has
// some of the configuration's keys, each of which must be valid.
func TestYAML(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.ConfigSchema()))
	if err != nil {
		t.Fatal(err)
	}
	const url = "https://example.com/config.json"
	if err := compiler.AddResource(url, document); err != nil {
		t.Fatal(err)
	}
	whole := 0
	fragments := 0
	for file, text := range documents(t) {
		walk(text, func(n ast.Node) {
			block, ok := n.(*ast.FencedCodeBlock)
			if !ok || block.Info == nil {
				return
			}
			info := string(block.Info.Value(text))
			var value any
			if language, _, _ := strings.Cut(info, " "); language != "yaml" {
				return
			}
			if err := yaml.Unmarshal(code(block, text), &value); err != nil {
				t.Errorf("%s: %v", file, err)
				return
			}
			switch info {
			case "yaml other":
			case "yaml configuration":
				whole++
				validate(t, compiler, file, url, value)
			case "yaml":
				for key, value := range value.(map[string]any) {
					fragments++
					validate(t, compiler, file, url+"#/properties/"+key, value)
				}
			default:
				t.Errorf("%s: a block %q: expected yaml, yaml configuration or yaml other", file, info)
			}
		})
	}
	if whole == 0 || fragments < 10 {
		t.Errorf("found %d configurations and %d fragments: the test looks in the wrong place", whole, fragments)
	}
}

func validate(t *testing.T, compiler *jsonschema.Compiler, file, url string, value any) {
	t.Helper()
	compiled, err := compiler.Compile(url)
	if err == nil {
		err = compiled.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

// code returns the text of a code block.
func code(block ast.Node, text []byte) []byte {
	var b bytes.Buffer
	for i := range block.Lines().Len() {
		line := block.Lines().At(i)
		b.Write(line.Value(text))
	}
	return b.Bytes()
}

// TestRunbooks checks that runbooks.md has an entry for every alert, which the alert's runbook_url
// leads to, and for nothing else; and that each entry has its parts.
func TestRunbooks(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations struct {
					Runbook string `yaml:"runbook_url"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(admin.Alerts(), &rules); err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]Section) // by anchor
	for _, s := range Sections(Page{Topic: "runbooks"}.Markdown()) {
		if s.Level == 3 {
			entries[s.Anchor] = s
		}
	}
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			anchor := strings.ToLower(r.Alert)
			if want := codeHost + "cmd/ttydrain/docs/runbooks.md#" + anchor; r.Annotations.Runbook != want {
				t.Errorf("%s: runbook_url is %q, want %q", r.Alert, r.Annotations.Runbook, want)
			}
			s, documented := entries[anchor]
			if !documented {
				t.Errorf("%s has no entry in runbooks.md", r.Alert)
			}
			for _, part := range []string{"Meaning.", "Impact.", "Check", "emedy."} {
				if documented && !strings.Contains(s.Text, part) {
					t.Errorf("the entry of %s does not have %q", r.Alert, part)
				}
			}
			delete(entries, anchor)
		}
	}
	for anchor := range entries {
		t.Errorf("runbooks.md has an entry %s, and there is no such alert", anchor)
	}
}

// TestRender checks that every page fits into terminals, and that nothing of it is lost.
func TestRender(t *testing.T) {
	for _, p := range Pages() {
		// The words of the page without its Markdown.
		var words []string
		walk(p.Markdown(), func(n ast.Node) {
			switch n := n.(type) {
			case *ast.Text:
				words = append(words, strings.Fields(unescape(string(n.Segment.Value(p.Markdown()))))...)
			case *ast.FencedCodeBlock, *ast.CodeBlock:
				words = append(words, strings.Fields(string(code(n, p.Markdown())))...)
			}
		})
		if len(words) == 0 {
			t.Errorf("%s: found no words", p.Topic)
		}
		for _, columns := range []int{60, 80, 110} {
			rendered := Render(p.Markdown(), Terminal{Width: columns})
			for _, word := range words {
				if !strings.Contains(rendered, word) {
					t.Errorf("%s at %d columns: %q is missing", p.Topic, columns, word)
				}
			}
		}
		for line := range strings.Lines(Render(p.Markdown(), Terminal{Width: 110})) {
			line = strings.TrimRight(line, "\n")
			isCode := strings.HasPrefix(line, "    ")
			if width(line) > 110 && !isCode && len(strings.Fields(line)) > 1 {
				t.Errorf("%s: a line of %d columns: %s", p.Topic, width(line), line)
			}
		}
	}
}

// TestRenderStyles checks each kind of block and text.
func TestRenderStyles(t *testing.T) {
	const text = "# A *title*\n\nSome `code` and **bold**, a [link](syslog.md#relp), and\n" +
		"a [site](https://example.com/).\n\n- one\n- two words\n\n1. first\n2. second\n\n```sh\nls  -l\n```\n\n" +
		"| a | b |\n|---|---|\n| 1 | long \\| text of a cell |\n\n> quoted\n"
	plain := Render([]byte(text), Terminal{Width: 24})
	const want = `# A title

Some ` + "`code`" + ` and bold, a
link [syslog], and a
site
<https://example.com/>.

- one
- two words

1. first
2. second

    ls  -l

a  b
────────────────────────
1  long | text of a cell

│ quoted
`
	if plain != want {
		t.Errorf("got\n%s\nwant\n%s", plain, want)
	}
	coloured := Render([]byte(text), Terminal{Width: 24, Colour: true})
	for _, part := range []string{"\x1b[1;4mA\x1b[m", "\x1b[36mcode\x1b[m", "\x1b[1mbold\x1b[m,", "\x1b[4mlink\x1b[m", "    \x1b[36mls  -l\x1b[m"} {
		if !strings.Contains(coloured, part) {
			t.Errorf("%q is missing in\n%q", part, coloured)
		}
	}
}
