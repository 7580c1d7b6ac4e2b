package pipeline_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ttydrain/ttydrain"

// A room lists the packages that one package's own files may import. Its test files may import
// more: see [violations].
type room struct {
	// ours are packages of the module, without the module's path; "*" is all of them.
	ours []string
	// outside are the prefixes of packages of other modules; "*" is all of them except NATS.
	outside []string
	// nats allows the package to use NATS.
	nats bool
}

var (
	none []string
	all  = []string{"*"}
)

// rooms is the table of imports of the whole module: schema <- enrich, sinks <- pipeline/* <- cmd.
// A new package gets a line. The root of the module has no package.
var rooms = map[string]room{
	"schema": {ours: none, outside: none},
	"enrich": {ours: []string{"schema"}, outside: []string{"github.com/golang-jwt/jwt/", "github.com/go-jose/go-jose/", "github.com/clipperhouse/displaywidth"}},

	"sinks":                          {ours: []string{"schema", "sinks/probe"}, outside: none},
	"sinks/probe":                    {ours: []string{"schema"}, outside: none},
	"sinks/https":                    {ours: []string{"schema", "sinks", "sinks/probe"}, outside: all},
	"sinks/elasticsearch":            {ours: []string{"schema", "sinks", "sinks/probe"}, outside: all},
	"sinks/file":                     {ours: []string{"schema", "sinks", "sinks/probe"}, outside: []string{"golang.org/x/sys/"}},
	"sinks/syslog":                   {ours: []string{"schema", "sinks", "sinks/probe"}, outside: all},
	"sinks/porttest":                 {ours: none, outside: none},
	"sinks/sinktest":                 {ours: []string{"schema", "sinks", "sinks/probe"}, outside: all},
	"sinks/elasticsearch/dashboards": {ours: none, outside: none},
	"sinks/elasticsearch/dashboards/dashtest": {ours: none, outside: none},
	"sinks/elasticsearch/estest":              {ours: []string{"schema", "sinks"}, outside: all},
	"sinks/syslog/syslogtest":                 {ours: []string{"schema", "sinks"}, outside: all},

	"pipeline":                           {ours: none, outside: none},
	"pipeline/drain":                     {ours: []string{"schema", "sinks", "sinks/probe", "pipeline/bus"}, outside: none},
	"pipeline/enricher":                  {ours: []string{"schema", "enrich", "pipeline/bus", "pipeline/measure", "pipeline/reclaim", "pipeline/tracing"}, outside: all},
	"pipeline/operate":                   {ours: []string{"schema", "sinks", "pipeline/bus", "pipeline/drain"}, outside: none},
	"pipeline/reclaim":                   {ours: []string{"pipeline/bus", "pipeline/measure"}, outside: []string{"github.com/prometheus/client_golang/"}},
	"pipeline/router":                    {ours: []string{"schema", "sinks", "pipeline/bus", "pipeline/drain", "pipeline/measure", "pipeline/reclaim", "pipeline/tracing"}, outside: all},
	"pipeline/admin":                     {ours: []string{"schema", "sinks/probe", "pipeline/admin/console", "pipeline/admin/openapi", "pipeline/admin/role", "pipeline/drain", "pipeline/measure", "pipeline/operate", "pipeline/replay", "pipeline/trail"}, outside: all},
	"pipeline/access":                    {ours: []string{"sinks", "pipeline/config", "pipeline/gateway", "pipeline/identity", "pipeline/session"}, outside: all},
	"pipeline/admin/client":              {ours: []string{"pipeline/endpoint"}, outside: none},
	"pipeline/admin/console":             {ours: []string{"schema", "pipeline/admin/role", "pipeline/identity"}, outside: all},
	"pipeline/admin/openapi":             {ours: none, outside: none},
	"pipeline/admin/role":                {ours: none, outside: none},
	"pipeline/audit":                     {ours: []string{"schema", "enrich", "pipeline/identity", "pipeline/replay"}, outside: none},
	"pipeline/authority":                 {ours: none, outside: none},
	"pipeline/bus":                       {ours: []string{"schema", "pipeline/measure"}, outside: all, nats: true},
	"pipeline/bus/bustest":               {ours: none, outside: all, nats: true},
	"pipeline/clusterkeys":               {ours: []string{"enrich", "pipeline/authority", "pipeline/bus", "pipeline/gateway"}, outside: none},
	"pipeline/client":                    {ours: []string{"schema"}, outside: all},
	"pipeline/client/clienttest":         {ours: []string{"schema", "pipeline/session", "pipeline/gateway"}, outside: all},
	"pipeline/config":                    {ours: []string{"schema", "pipeline/identity", "sinks", "sinks/elasticsearch", "sinks/https"}, outside: all},
	"pipeline/config/reload":             {ours: []string{"pipeline/config", "pipeline/measure"}, outside: all},
	"pipeline/endpoint":                  {ours: none, outside: none},
	"pipeline/login":                     {ours: none, outside: none},
	"pipeline/demo":                      {ours: []string{"enrich", "pipeline/client", "pipeline/config", "pipeline/receive", "pipeline/setup", "pipeline/timeflag"}, outside: all},
	"pipeline/gateway":                   {ours: []string{"schema", "pipeline/measure", "pipeline/session"}, outside: all},
	"pipeline/identity":                  {ours: []string{"schema"}, outside: all},
	"pipeline/measure":                   {ours: none, outside: []string{"github.com/prometheus/client_golang/"}},
	"pipeline/model":                     {ours: none, outside: none},
	"pipeline/waittest":                  {ours: none, outside: none},
	"pipeline/transfer":                  {ours: []string{"schema"}, outside: none},
	"pipeline/receive":                   {ours: []string{"schema", "sinks", "pipeline/authority"}, outside: all},
	"pipeline/replay":                    {ours: []string{"schema", "enrich", "sinks", "pipeline/endpoint", "pipeline/receive"}, outside: all},
	"pipeline/replay/tty":                {ours: []string{"pipeline/client", "pipeline/replay"}, outside: all},
	"pipeline/replay/replaytest":         {ours: []string{"schema", "enrich", "sinks", "sinks/file", "sinks/https", "sinks/syslog", "pipeline/receive"}, outside: all},
	"pipeline/report":                    {ours: []string{"schema", "pipeline/audit", "pipeline/identity", "pipeline/replay"}, outside: none},
	"pipeline/resources":                 {ours: none, outside: none},
	"pipeline/buildinfo":                 {ours: none, outside: none},
	"pipeline/trail":                     {ours: []string{"schema", "pipeline/bus"}, outside: none},
	"pipeline/timeflag":                  {ours: none, outside: none},
	"pipeline/setup":                     {ours: []string{"enrich", "pipeline/config", "pipeline/gateway", "pipeline/receive"}, outside: all},
	"pipeline/session":                   {ours: []string{"schema", "pipeline/measure", "pipeline/transfer"}, outside: all},
	"pipeline/tracing/tracingtest":       {ours: none, outside: all},
	"pipeline/tracing":                   {ours: none, outside: []string{"go.opentelemetry.io/", "google.golang.org/protobuf/", "github.com/cenkalti/backoff/"}},
	"pipeline/session/busstore":          {ours: []string{"schema", "pipeline/bus", "pipeline/session", "pipeline/tracing"}, outside: none},
	"pipeline/session/sandbox":           {ours: []string{"schema", "pipeline/session"}, outside: all},
	"pipeline/session/docker":            {ours: []string{"schema", "pipeline/session"}, outside: all},
	"pipeline/session/docker/dockertest": {ours: none, outside: all},
	"pipeline/session/sessiontest":       {ours: []string{"pipeline/session"}, outside: all},

	"cmd/ttydrain":      {ours: []string{"*", "cmd/ttydrain/docs"}, outside: all},
	"cmd/ttydrain/e2e":  {ours: none, outside: none},
	"cmd/ttydrain/docs": {ours: none, outside: []string{"github.com/yuin/goldmark", "github.com/clipperhouse/displaywidth"}},
}

// A source holds the imports of one Go file.
type source struct {
	file    string // with slashes, from the root of the module
	imports []string
}

// violations reports the imports of a file that the table does not allow.
//
// A test file, and a file of a package for tests (its name ends in "test"), may import every
// package except cmd's, and packages of all other modules. Only those may import a package for
// tests.
func violations(s source, rooms map[string]room) []string {
	pkg := path.Dir(s.file)
	r, known := rooms[pkg]
	if !known {
		return []string{fmt.Sprintf("%s: package %s is not in the table of imports", s.file, pkg)}
	}
	testing := strings.HasSuffix(s.file, "_test.go")
	var found []string
	for _, imported := range s.imports {
		ours, isOurs := strings.CutPrefix(imported, module+"/")
		allowed := false
		switch {
		case isOurs && (strings.HasPrefix(ours, "cmd/") || strings.HasPrefix(ours, "bench")):
			allowed = slices.Contains(r.ours, ours)
		case isOurs && testing:
			allowed = true
		case isOurs && strings.HasSuffix(ours, "test"):
			allowed = strings.HasSuffix(pkg, "test")
		case isOurs:
			allowed = slices.Contains(r.ours, "*") || slices.Contains(r.ours, ours)
		case imported == module:
		case testing, !strings.Contains(strings.Split(imported, "/")[0], "."): // the standard library
			allowed = true
		case strings.HasPrefix(imported, "github.com/nats-io/"):
			allowed = r.nats
		default:
			allowed = slices.Contains(r.outside, "*") ||
				slices.ContainsFunc(r.outside, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
		}
		if !allowed {
			found = append(found, fmt.Sprintf("%s: %s may not import %s", s.file, pkg, imported))
		}
	}
	return found
}

// TestImports reads the sources themselves: `go list` answers from outside the files that the test
// cache watches, so that a test which asks it passes from the cache after the table is broken.
func TestImports(t *testing.T) {
	sources := parseSources(t, "..")
	byPackage := make(map[string]int)
	for _, s := range sources {
		byPackage[path.Dir(s.file)]++
		for _, v := range violations(s, rooms) {
			t.Error(v)
		}
	}
	for _, pkg := range []string{"schema", "sinks", "pipeline/session"} {
		if byPackage[pkg] == 0 {
			t.Errorf("found no files of %s: the test looks in the wrong place", pkg)
		}
	}
}

// parseSources parses the imports of every Go file under root, whatever it is built for.
func parseSources(t *testing.T, root string) (sources []source) {
	t.Helper()
	walkSources(t, root, func(file string, data []byte) error {
		s, err := parseSource(file, data)
		sources = append(sources, s)
		return err
	})
	return sources
}

// walkSources calls visit for each Go file of the module, with its path from the module's root.
func walkSources(t *testing.T, root string, visit func(file string, data []byte) error) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the root of the module: %v", err)
	}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			// The go command skips these folders, and modules of their own such as the benchmark.
			if file == root {
				return nil
			}
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			if err == nil || name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_' {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(relative), data)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func parseSource(file string, data []byte) (source, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, data, parser.ImportsOnly)
	if err != nil {
		return source{}, err
	}
	s := source{file: file}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, fmt.Errorf("%s: %w", file, err)
		}
		s.imports = append(s.imports, imported)
	}
	return s, nil
}

func TestImportsRefuses(t *testing.T) {
	for _, test := range []struct {
		file, imported string
		allowed        bool
	}{
		{"schema/x.go", "encoding/json", true},
		{"schema/x.go", "golang.org/x/text/width", false},
		{"schema/x.go", module + "/sinks", false},
		{"schema/x_test.go", "github.com/santhosh-tekuri/jsonschema/v6", true},
		{"enrich/x.go", module + "/schema", true},
		{"enrich/x.go", module + "/sinks", false},
		{"enrich/x.go", "github.com/golang-jwt/jwt/v5", true},
		{"enrich/x.go", "github.com/spf13/cobra", false},
		{"sinks/https/x.go", module + "/sinks", true},
		{"sinks/https/x.go", module + "/sinks/sinktest", false},
		{"sinks/https/x.go", module + "/pipeline/config", false},
		{"sinks/https/x_test.go", module + "/sinks/sinktest", true},
		{"sinks/https/x_test.go", module + "/cmd/ttydrain", false},
		{"sinks/sinktest/x.go", module + "/sinks/elasticsearch/estest", true},
		{"pipeline/x.go", module + "/pipeline/bus", false},
		{"pipeline/router/x.go", module + "/pipeline/bus", true},
		{"pipeline/router/x.go", module + "/pipeline/operate", false},
		{"pipeline/router/x.go", module + "/pipeline/enricher", false},
		{"pipeline/operate/x.go", module + "/pipeline/router", false},
		{"pipeline/router/x.go", "github.com/nats-io/nats.go", false},
		{"pipeline/router/x_test.go", "github.com/nats-io/nats.go", true},
		{"pipeline/bus/x.go", "github.com/nats-io/nats.go/jetstream", true},
		{"pipeline/gateway/x.go", "golang.org/x/crypto/ssh", true},
		{"pipeline/gateway/x.go", module + "/pipeline/bus", false},
		{"cmd/ttydrain/x.go", module + "/pipeline/bus", true},
		{"cmd/ttydrain/x.go", "github.com/nats-io/nats.go", false},
		{"pipeline/x_test.go", module + "/bench/corpus", false},
		{"pipeline/new/x.go", "fmt", false},
		{"x.go", module + "/schema", false},
	} {
		s, err := parseSource(test.file, fmt.Appendf(nil, "//go:build plan9\n\npackage x\n\nimport (\n\t_ \"io\"\n\ty %q\n)\n", test.imported))
		if err != nil {
			t.Fatal(err)
		}
		if found := violations(s, rooms); (len(found) == 0) != test.allowed {
			t.Errorf("%s importing %s: allowed is %t: %q", test.file, test.imported, !test.allowed, found)
		}
	}
}
