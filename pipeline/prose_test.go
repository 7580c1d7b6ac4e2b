package pipeline_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	snakeCase = regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)
	capitals  = regexp.MustCompile(`\b[A-Z][A-Z_]+\b`)
)

// abbreviations are the words of log messages that are in capitals.
var abbreviations = map[string]bool{
	"LOGS": true, "TTY": true, // the streams
	"NATS": true, "SIGPIPE": true, "SSH": true, "TCP_USER_TIMEOUT": true, "TLS": true,
}

// logMethods are the functions and methods of log/slog that take a message and attributes, and the
// index of the message.
var logMethods = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log":  2,
	"With": -1, // only attributes
}

// attributeFunctions are the functions of log/slog that return an attribute.
var attributeFunctions = map[string]bool{
	"Any": true, "Bool": true, "Duration": true, "Group": true, "Int": true, "Int64": true, "Float64": true, "String": true, "Time": true, "Uint64": true,
}

// logMistakes reports the log messages and attribute keys of a file that are not as they should be,
// and the number of messages. It goes by the names of functions, since the file's types are
// unknown.
func logMistakes(set *token.FileSet, file *ast.File) (mistakes []string, messages int) {
	report := func(at ast.Node, format string, args ...any) {
		mistakes = append(mistakes, fmt.Sprintf("%s: %s", set.Position(at.Pos()), fmt.Sprintf(format, args...)))
	}
	checkKey := func(key ast.Expr, value ast.Expr) {
		name, ok := literal(key)
		switch {
		case !ok:
			return
		case !snakeCase.MatchString(name):
			report(key, "the key %q is not in snake_case", name)
		case isError(value) && name != "error":
			report(key, "the key of an error is %q instead of \"error\"", name)
		}
	}
	checkKeys := func(attributes []ast.Expr) {
		for len(attributes) > 1 {
			if _, ok := literal(attributes[0]); !ok { // an Attr, or a key in a variable
				attributes = attributes[1:]
				continue
			}
			checkKey(attributes[0], attributes[1])
			attributes = attributes[2:]
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit: // attributes that are collected in a slice
			array, ok := n.Type.(*ast.ArrayType)
			if !ok {
				return true
			}
			if element, ok := array.Elt.(*ast.Ident); ok && element.Name == "any" && len(n.Elts)%2 == 0 {
				checkKeys(n.Elts)
			}
		case *ast.CallExpr:
			function, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, _ := function.X.(*ast.Ident)
			if from != nil && from.Name == "slog" && attributeFunctions[function.Sel.Name] && len(n.Args) == 2 {
				checkKey(n.Args[0], n.Args[1])
				return true
			}
			index, ok := logMethods[function.Sel.Name]
			if !ok || len(n.Args) <= index || from != nil && from.Name == "http" {
				return true
			}
			if index >= 0 {
				message, ok := firstLiteral(n.Args[index])
				if !ok {
					return true
				}
				messages++
				if strings.HasSuffix(message, ".") {
					report(n, "the message %q ends with a full stop", message)
				}
				for _, word := range capitals.FindAllString(message, -1) {
					if !abbreviations[word] {
						report(n, "%s is in capitals in the message %q", word, message)
					}
				}
			}
			checkKeys(n.Args[index+1:])
		}
		return true
	})
	return mistakes, messages
}

// literal returns the value of a string literal.
func literal(e ast.Expr) (string, bool) {
	basic, ok := e.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(basic.Value)
	return value, err == nil
}

// firstLiteral returns the value of a string literal, or of the first one of a concatenation.
func firstLiteral(e ast.Expr) (string, bool) {
	for {
		sum, ok := e.(*ast.BinaryExpr)
		if !ok {
			return literal(e)
		}
		e = sum.X
	}
}

// isError reports whether an expression is an error by its name: err, writeErr, ctx.Err() or
// context.Cause(ctx).
func isError(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "err" || strings.HasSuffix(e.Name, "Err")
	case *ast.CallExpr:
		if function, ok := e.Fun.(*ast.SelectorExpr); ok {
			return function.Sel.Name == "Err" || function.Sel.Name == "Cause"
		}
	}
	return false
}

// TestLogging holds the form of log messages: no full stop and no capitals for emphasis, keys in
// snake_case, and "error" as the key of every error.
func TestLogging(t *testing.T) {
	messages := 0
	walkSources(t, "..", func(file string, data []byte) error {
		if strings.HasSuffix(file, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, data, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		found, n := logMistakes(set, parsed)
		for _, m := range found {
			t.Error(m)
		}
		messages += n
		return nil
	})
	if messages < 100 {
		t.Errorf("found %d log messages: the test does not see them", messages)
	}
}

func TestLoggingRefuses(t *testing.T) {
	for _, test := range []struct {
		statement string
		mistakes  int
	}{
		{`log.Warn("drain not opened", "error", err, "wait", wait)`, 0},
		{`log.Warn("drain not opened", slog.Any("error", err), "last_wait", wait)`, 0},
		{`log.Log(ctx, slog.LevelInfo, "started", "by", name)`, 0},
		{`log.Error("panic: "+what, "error", err)`, 0},
		{`attributes = []any{"status", status, "error", err}`, 0},
		{`http.Error(w, "Not Found.", 404)`, 0},
		{`metric.With(labels)`, 0},
		{`log.Warn("drain not opened.")`, 1},
		{`log.Warn("drain is NOT opened")`, 1},
		{`log.WarnContext(ctx, "drain not opened", "cause", err)`, 1},
		{`log.Warn("drain not opened", "reason", context.Cause(ctx))`, 1},
		{`log.Warn("drain not opened", slog.Any("err", err))`, 1},
		{`log.Warn("drain not opened", "last wait", wait)`, 1},
		{`log.Warn("drain not opened", "lastWait", wait)`, 1},
		{`log.With("Drain", name).Warn("drain not opened", slog.Group("drain"), "err", writeErr)`, 2},
		{`attributes = []any{"status", status, "err", err}`, 1},
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "x.go", "package x\n\nfunc x() {\n\t"+test.statement+"\n}\n", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if found, _ := logMistakes(set, file); len(found) != test.mistakes {
			t.Errorf("%s: %d mistakes, want %d: %q", test.statement, len(found), test.mistakes, found)
		}
	}
}

// TestCommentWidth holds that comments have at most 100 columns, except for preformatted lines and
// URLs.
func TestCommentWidth(t *testing.T) {
	comments := 0
	walkSources(t, "..", func(file string, data []byte) error {
		number := 0
		for line := range strings.Lines(string(data)) {
			number++
			text, ok := strings.CutPrefix(strings.TrimLeft(line, "\t"), "//")
			if !ok {
				continue
			}
			comments++
			width := utf8.RuneCountInString(strings.TrimRight(line, "\n")) // a tab is one
			if width > 100 && !strings.HasPrefix(text, "\t") && strings.Contains(strings.TrimSpace(text), " ") && !strings.HasPrefix(text, "go:") {
				t.Errorf("%s:%d: the comment has %d columns", file, number, width)
			}
		}
		return nil
	})
	if comments < 1000 {
		t.Errorf("found %d lines of comments: the test does not see them", comments)
	}
}

// TestMap holds that the documentation of package pipeline names each package directly below it.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := make(map[string]bool)
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return r < 'a' || r > 'z' }) {
		words[word] = true
	}
	packages := 0
	for pkg := range rooms {
		name, ok := strings.CutPrefix(pkg, "pipeline/")
		if !ok || strings.Contains(name, "/") || strings.HasSuffix(name, "test") {
			continue
		}
		packages++
		if !words[name] {
			t.Errorf("doc.go does not name package %s", name)
		}
	}
	if packages == 0 {
		t.Error("the table of imports has no package below pipeline")
	}
}
