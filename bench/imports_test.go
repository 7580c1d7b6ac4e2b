package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ttydrain/ttydrain/bench"

// allowed is the table of imports inside the benchmark: each package may import the listed ones,
// all of which are above it. The main package may import all of them.
var allowed = []struct {
	pkg     string
	imports []string
}{
	{"process", nil},
	{"measure", nil},
	{"corpus", []string{"process"}},
	{"receivers", []string{"process", "measure", "corpus"}},
	{"drains", []string{"process", "measure", "corpus", "receivers"}},
	{"peers", []string{"process", "measure", "corpus", "receivers", "drains"}},
	{"growth", []string{"process", "measure", "corpus", "receivers", "drains"}},
	{"ssh", []string{"process", "measure", "corpus", "receivers"}},
	{"availability", []string{"process", "measure", "receivers", "ssh"}},
	{"report", []string{"measure", "corpus"}},
}

// TestImportTable checks that the table itself has no cycle: a package imports only those above it.
func TestImportTable(t *testing.T) {
	var above []string
	for _, row := range allowed {
		for _, imported := range row.imports {
			if !slices.Contains(above, imported) {
				t.Errorf("%s may import %s, which is not above it", row.pkg, imported)
			}
		}
		above = append(above, row.pkg)
	}
}

// TestImports checks the imports of every file against the table. Test files are included.
func TestImports(t *testing.T) {
	files := make(map[string]int)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		files[pkg]++
		if pkg == "." {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, row := range allowed {
			if row.pkg == pkg {
				imports = row.imports
			}
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(imports, ours) {
				t.Errorf("%s: %s may not import %s", file, pkg, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range allowed {
		if files[row.pkg] == 0 {
			t.Errorf("found no files of %s", row.pkg)
		}
		delete(files, row.pkg)
	}
	delete(files, ".")
	for pkg := range files {
		t.Errorf("package %s is not in the table of imports", pkg)
	}
}
