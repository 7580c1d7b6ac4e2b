package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// TestOpenAPI checks the document against testdata/openapi.json, so that changes of the API are
// seen. Update it with go test ./pipeline/admin -run OpenAPI -update.
func TestOpenAPI(t *testing.T) {
	const file = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(file, OpenAPI(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, OpenAPI()) {
		t.Errorf("%s differs from the API: if the change is intended and compatible, update it with -update", file)
	}
}

// TestOpenAPIHasEveryRoute checks that the server handles each operation of the document with a
// pattern of its own, and that no other pattern is registered.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(OpenAPI(), &document); err != nil {
		t.Fatal(err)
	}
	o := &Options{Metrics: prometheus.NewRegistry()}
	routes := o.routes(new(api))
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.Key(), r.handler)
	}
	n := 0
	for path, methods := range document.Paths {
		for method := range methods {
			n++
			pattern := strings.ToUpper(method) + " " + path
			if _, got := mux.Handler(httptest.NewRequest(strings.ToUpper(method), path, nil)); got != pattern {
				t.Errorf("%s is handled by %q", pattern, got)
			}
		}
	}
	if n != len(routes) || n < 20 {
		t.Errorf("%d operations are in the document, and the server has %d", n, len(routes))
	}
	if got := registrations(t); got != 1 {
		t.Errorf("%d calls register patterns, expected 1: add the operation to the routes instead", got)
	}
}

// registrations counts the calls in this package that register a pattern with a mux.
func registrations(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no files: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "HandleFunc" || s.Sel.Name == "Handle") {
					n++
				}
			}
			return true
		})
	}
	return n
}

// TestOpenAPIRefusesGaps checks that an operation, a parameter, a status or a field without a
// description is an error.
func TestOpenAPIRefusesGaps(t *testing.T) {
	type body struct {
		X string `json:"x"`
	}
	result := openapi.Result{About: "Done."}
	for name, o := range map[string]openapi.Operation{
		"summary":        {ID: "a", Tag: "t", Method: "GET", Path: "/", Result: result},
		"result":         {ID: "a", Tag: "t", Method: "GET", Path: "/", Summary: "Do"},
		"path parameter": {ID: "a", Tag: "t", Method: "GET", Path: "/{x}", Summary: "Do", Result: result},
		"parameter":      {ID: "a", Tag: "t", Method: "GET", Path: "/", Summary: "Do", Result: result, Query: []openapi.Parameter{{Name: "x"}}},
		"status":         {ID: "a", Tag: "t", Method: "GET", Path: "/", Summary: "Do", Result: result, Refusals: []int{418}},
		"field":          {ID: "a", Tag: "t", Method: "GET", Path: "/", Summary: "Do", Result: result, Body: body{}},
	} {
		d := description([]route{{Operation: o}})
		d.Fields = nil
		if _, err := d.Document(); err == nil {
			t.Errorf("no error for an operation without a description of its %s", name)
		}
	}
}
