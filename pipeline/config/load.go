package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is the maximum size of the configuration file.
const maxFile = 1 << 20

// Load reads and checks a configuration file, and the files that it names. The error has the type
// [Mistakes] and contains all of them. Paths are relative to the configuration's folder.
func Load(path string) (*Config, error) {
	c, _, err := LoadFiles(path, nil)
	return c, err
}

// Refuse reports that the setting at a path, such as "drains[0].api_key", is not valid. The message
// continues a sentence that begins with the path. It adds nothing if an error in that setting, or
// in its parent, is known already.
type Refuse func(path, message string)

// Verify constructs the parts of ttydrain that a configuration describes, and reports errors of
// their constructors. If the configuration has errors, some of its parts are incomplete.
type Verify func(c *Config, refuse Refuse)

// LoadFiles is [Load] for a program that runs with the configuration. It also returns the files
// whose change can have an effect, even if there are errors. verify runs after all other checks;
// nil for none.
func LoadFiles(path string, verify Verify) (*Config, Files, error) {
	d := newDecoder(path)
	d.verify = verify
	data, err := d.readFile(path, maxFile)
	if err != nil {
		return nil, d.files, Mistakes{{File: path, Line: 1, Column: 1, Code: codeFile, Message: err.Error() + "; expected the configuration, a YAML file"}}
	}
	c, err := d.config(data)
	return c, d.files, err
}

func newDecoder(name string) *decoder {
	return &decoder{file: name, dir: filepath.Dir(name), places: make(map[string]place)}
}

// config returns the configuration in data.
func (d *decoder) config(data []byte) (*Config, error) {
	c := &Config{file: d.file, places: d.places}
	d.keepPrivate("", d.file)
	if root := d.parse(data); root != nil {
		d.value(root, reflect.ValueOf(c).Elem(), &field{want: "a mapping with users, stacks, apps and drains"}, "")
		if d.usable("") {
			c.finish(d)
			d.runVerify(c)
		}
	}
	if len(d.mistakes) > 0 {
		d.mistakes.sort()
		return nil, d.mistakes
	}
	return c, nil
}

func (d *decoder) runVerify(c *Config) {
	if d.verify == nil {
		return
	}
	d.verify(c, func(path, message string) {
		if !d.known(path) {
			d.refuse(codeRefused, path, "%s", message)
		}
	})
}

// known reports whether an error was found in the value at path, in its parents or in its children.
func (d *decoder) known(path string) bool {
	return d.places[path].bad || slices.ContainsFunc(d.mistakes, func(m Mistake) bool { return within(m.Path, path) || within(path, m.Path) })
}

// within reports whether a path is outer, or inside of it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// parse returns the single document in data, or nil after an error.
func (d *decoder) parse(data []byte) ast.Node {
	start := place{line: 1, column: 1}
	if wrong := checkText(data); wrong != nil {
		d.syntax(wrong)
		return nil
	}
	// The parser counts a CR LF after a comment as two lines, and treats a byte order mark as part
	// of the first key. In YAML (1.2.2 §5.2, §5.4) neither has a meaning.
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	layout := scanLayout(string(data))
	if wrong := layout.always(); wrong != nil {
		d.syntax(wrong)
		return nil
	}
	file, err := parser.Parse(joinScalars(lexer.Tokenize(string(data))), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// The error itself quotes the lines around, which may contain secrets.
		message, at := "", (*token.Token)(nil)
		if syntax := yaml.Error(nil); errors.As(err, &syntax) {
			message, at = syntax.GetMessage(), syntax.GetToken()
		}
		d.syntax(layout.explain(message, at))
		return nil
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			at := placeOf(doc.Body)
			if doc.Start != nil && doc.Start.Position != nil {
				at = place{line: doc.Start.Position.Line, column: doc.Start.Position.Column}
			}
			d.mistake(codeDocuments, at, "", "begins a second document here; expected one document, without a line \"---\" in it")
			return nil
		default:
			root = doc.Body
		}
	}
	if root == nil {
		d.mistake(codeEmpty, start, "", "is empty; expected a mapping with users, stacks, apps and drains")
	}
	return root
}

func (d *decoder) syntax(wrong *syntaxError) {
	d.mistake(wrong.code, wrong.at, "", "%s", wrong.message)
}
