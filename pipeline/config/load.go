package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Load reads and checks a configuration file, and the files that it names. The error is [Mistakes],
// all of them. Relative paths in the file start at its folder.
func Load(path string) (*Config, error) {
	c, _, err := LoadFiles(path)
	return c, err
}

// LoadFiles is [Load] for who wants to know when to load again: it gives the files whose change can make a difference,
// with mistakes too.
func LoadFiles(path string) (*Config, Files, error) {
	d := newDecoder(path)
	data, err := d.readFile(path, maxFile)
	if err != nil {
		return nil, d.files, Mistakes{{File: path, Line: 1, Column: 1, Message: err.Error() + "; expected the configuration, a YAML file"}}
	}
	c, err := d.config(data)
	return c, d.files, err
}

// Parse is [Load] for a file called name that has been read: data is its content.
func Parse(name string, data []byte) (*Config, error) { return newDecoder(name).config(data) }

func newDecoder(name string) *decoder {
	return &decoder{file: name, dir: filepath.Dir(name), places: make(map[string]place)}
}

// config is the configuration that data holds.
func (d *decoder) config(data []byte) (*Config, error) {
	c := new(Config)
	d.private = append(d.private, d.file)
	if root := d.parse(data); root != nil {
		d.value(root, reflect.ValueOf(c).Elem(), &field{want: "a mapping with users, stacks, apps and drains"}, "")
		if d.usable("") {
			c.finish(d)
		}
	}
	if len(d.mistakes) > 0 {
		d.mistakes.sort()
		return nil, d.mistakes
	}
	c.private = d.private
	return c, nil
}

// parse is the one document that data must hold, or nil after a mistake.
func (d *decoder) parse(data []byte) ast.Node {
	start := place{line: 1, column: 1}
	// The parser counts a CR LF after a comment as two lines, and takes a byte order mark for a part
	// of the first key. To YAML (1.2.2 §5.2, §5.4) neither makes a difference.
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	file, err := parser.Parse(joinScalars(lexer.Tokenize(string(data))), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := start, "cannot be read as YAML"
		// The message alone: the error itself quotes the lines around, where secrets may be.
		if syntax := yaml.Error(nil); errors.As(err, &syntax) {
			message = syntax.GetMessage()
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				at = place{line: t.Position.Line, column: t.Position.Column}
				if t.Type == token.MappingStartType && t.Prev != nil && strings.HasSuffix(t.Prev.Value, "$") {
					message = `a brace begins a mapping here; expected quotes around a value with ${ in it: "${NAME}"`
				}
			}
		}
		d.mistake(at, "", "is not valid YAML: %s", printable(message))
		return nil
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			d.mistake(placeOf(doc.Body), "", "has a second document; expected one")
			return nil
		default:
			root = doc.Body
		}
	}
	if root == nil {
		d.mistake(start, "", "is empty; expected a mapping with users, stacks, apps and drains")
	}
	return root
}

// printable replaces what could drive a terminal.
func printable(text string) string {
	text = strings.ReplaceAll(text, "\t", `\t`)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}
