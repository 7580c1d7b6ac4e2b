package router

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"slices"
	"strings"
	"testing"
)

// order is the table of the package's files, from the bottom to the top. A file uses types,
// functions, methods and fields of lower rows only.
var order = [][]string{
	{"metrics.go", "retention.go", "proof.go", "pace.go", "verdict.go", "gapnote.go"},
	{"target.go", "quota.go", "suspicion.go"},
	{"control.go", "status.go"},
	{"attempt.go", "position.go", "window.go"},
	{"isolate.go"},
	{"deliver.go"},
	{"dispatch.go", "loss.go"},
	{"worker.go"},
	{"reclaim.go"},
	{"router.go"},
}

// A use is an identifier in one file that another file of the package declares.
type use struct {
	name     string
	at       token.Position
	from, to string // files
}

// usesBetweenFiles returns the uses of declarations across the package's files, tests aside.
func usesBetweenFiles(t *testing.T) (uses []use, files []string) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name != "doc.go" {
			f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed, files = append(parsed, f), append(files, name)
		}
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	// Other packages stay unknown, which is no obstacle to the resolution of this one's identifiers.
	config := types.Config{Importer: unknownImporter{}, Error: func(error) {}}
	pkg, _ := config.Check("router", set, parsed, info)
	for ident, object := range info.Uses {
		if object.Pkg() != pkg || !object.Pos().IsValid() {
			continue
		}
		if _, ok := object.(*types.PkgName); ok {
			continue
		}
		at := set.Position(ident.Pos())
		if to := set.Position(object.Pos()).Filename; to != at.Filename {
			uses = append(uses, use{ident.Name, at, at.Filename, to})
		}
	}
	return uses, files
}

type unknownImporter struct{}

func (unknownImporter) Import(path string) (*types.Package, error) {
	return nil, errors.New("not imported: " + path)
}

// outOfOrder returns the uses that a table does not allow.
func outOfOrder(uses []use, order [][]string) (violations []string) {
	row := make(map[string]int) // by file
	for i, files := range order {
		for _, file := range files {
			row[file] = i
		}
	}
	for _, u := range uses {
		if row[u.from] <= row[u.to] {
			violations = append(violations, fmt.Sprintf("%s: %s, of %s, is not below %s", u.at, u.name, u.to, u.from))
		}
	}
	slices.Sort(violations)
	return violations
}

// TestOrder holds that no type of the package uses one above it or beside it, so that nothing but
// the router holds a worker, and there is no cycle.
func TestOrder(t *testing.T) {
	uses, files := usesBetweenFiles(t)
	listed := slices.Sorted(slices.Values(slices.Concat(order...)))
	if slices.Sort(files); !slices.Equal(files, listed) {
		t.Errorf("the package has the files %q, and the table %q", files, listed)
	}
	for _, v := range outOfOrder(uses, order) {
		t.Error(v)
	}
	// Every type is used by the ones above it.
	for _, want := range [][2]string{
		{"router.go", "worker.go"}, {"worker.go", "dispatch.go"}, {"worker.go", "loss.go"}, {"dispatch.go", "deliver.go"}, {"dispatch.go", "position.go"},
		{"dispatch.go", "window.go"}, {"loss.go", "position.go"}, {"deliver.go", "isolate.go"}, {"isolate.go", "attempt.go"}, {"attempt.go", "status.go"}, {"deliver.go", "verdict.go"}, {"position.go", "target.go"},
	} {
		if !slices.ContainsFunc(uses, func(u use) bool { return u.from == want[0] && u.to == want[1] }) {
			t.Errorf("found no use of %s in %s: the test does not see the uses", want[1], want[0])
		}
	}
}

// TestOrderRefuses holds that every two rows of the table are in the only possible order.
func TestOrderRefuses(t *testing.T) {
	uses, _ := usesBetweenFiles(t)
	for i := range len(order) - 1 {
		swapped := slices.Clone(order)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		if len(outOfOrder(uses, swapped)) == 0 {
			t.Errorf("the rows %q and %q can be swapped", order[i], order[i+1])
		}
	}
}
