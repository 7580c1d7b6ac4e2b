package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// driving is a text that controls a terminal, and looks like another one.
const driving = "Ada\x1b[31m\u009b2J\u0085\u2028 \u202eecalevoL\u200b"

// TestVisible: printed text controls no terminal, and no hidden character makes one text look like
// another.
func TestVisible(t *testing.T) {
	var out bytes.Buffer
	w := tabwriter.NewWriter(visible{&out}, 0, 0, 2, ' ', 0)
	w.Write([]byte("USER\tAPP\n" + driving + "\tweb\n"))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = "USER                    APP\nAda?[31m?2J?? ?ecalevoL?  web\n"
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := cell("a\nb\t" + driving); got != "a b Ada?[31m?2J?? ?ecalevoL?" {
		t.Errorf("a cell is %q", got)
	}
}

// TestLogEscapes: log messages control no terminal, in both formats, and the values in JSON are
// unchanged.
func TestLogEscapes(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		newLogTo(&out, config.Log{Level: "info", Format: format}).Info(driving, "who", driving)
		line := strings.TrimSuffix(out.String(), "\n")
		if shown(line) != line {
			if format == "text" || strings.ContainsAny(line, "\x1b\u009b\u0085\u2028\u202e") {
				t.Errorf("%s: %q", format, line)
			}
		}
		var back struct{ Msg, Who string }
		if format == "json" && (json.Unmarshal(out.Bytes(), &back) != nil || back.Msg != driving || back.Who != driving) {
			t.Errorf("the values are %+v", back)
		}
	}
}

// TestServersLog finds every http.Server: net/http writes to standard error itself where one has no
// ErrorLog.
func TestServersLog(t *testing.T) {
	servers := 0
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			kind, ok := literal.Type.(*ast.SelectorExpr)
			if pkg, isName := ast.Unparen(selected(kind)).(*ast.Ident); !ok || !isName || pkg.Name != "http" || kind.Sel.Name != "Server" {
				return true
			}
			servers++
			for _, element := range literal.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "ErrorLog" {
						return true
					}
				}
			}
			t.Errorf("%s: a server without an ErrorLog", files.Position(literal.Pos()))
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if servers < 2 {
		t.Errorf("found %d servers: the test looks in the wrong place", servers)
	}
}

// selected returns the operand of a selector; for none, no name.
func selected(s *ast.SelectorExpr) ast.Expr {
	if s == nil {
		return &ast.BadExpr{}
	}
	return s.X
}
