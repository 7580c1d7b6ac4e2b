package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/measure"
)

const metricsHead = `# Metrics reference

<!-- generated: go test ./cmd/ttydrain -run Reference -update -->

Every metric of ttydrain at ` + "`/metrics`" + `, generated from what a process with all roles registers. [Observing
ttydrain](observe.md#metrics) says how they belong together. Metrics of sessions and of SSH exist in processes that run
the gateway, those of the store where NATS is embedded, and those of a stream where a process uses it.

| metric | type | labels | unit | meaning |
|---|---|---|---|---|
`

// TestMetricsReference checks that docs/metrics-reference.md has every metric that a process with
// all roles registers. Update it with go test ./cmd/ttydrain -run Reference -update. The tests of a
// running server check its types and labels again.
func TestMetricsReference(t *testing.T) {
	const file = "docs/metrics-reference.md"
	lines := metricLines(t, registered(t))
	if len(lines) < 50 {
		t.Errorf("found %d metrics, expected more: the test looks in the wrong place", len(lines))
	}
	text := metricsHead + strings.Join(lines, "")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != text {
		t.Errorf("%s differs from the registered metrics: update it with -update", file)
	}
}

// registered returns the registry of a process with all roles.
func registered(t *testing.T) *prometheus.Registry {
	t.Helper()
	dir := keysFolder(t)
	path := filepath.Join(dir, "ttydrain.yaml")
	const text = `store: data
gateway: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
user_document: {issuer: x}
users: [{id: a, name: a, email: a@b, authorized_keys: [ada.pub], apps: [web]}]
stacks: [{name: default}]
apps: [{name: web, stack: default, command: [/bin/sh]}]
drains: [{name: siem, type: https, url: "https://127.0.0.1:1/"}]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, files, err := config.LoadFiles(path, verifyParts)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNode(t.Context(), c, roles{true, true, true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	newReloader(n, path, files, nil)
	return n.registry
}

// description matches the text of a [prometheus.Desc].
var description = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: (".*"), unit: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricLines returns the lines of the reference, sorted.
func metricLines(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descriptions := make(chan *prometheus.Desc)
	go func() { // ends when all are described
		registry.Describe(descriptions)
		close(descriptions)
	}()
	lines := make(map[string]string)
	for d := range descriptions {
		parts := description.FindStringSubmatch(d.String())
		if parts == nil {
			t.Errorf("a description of another form: %s", d)
			continue
		}
		name := parts[1]
		if !strings.HasPrefix(name, measure.Namespace+"_") {
			continue // of Go or of the process
		}
		help, err := strconv.Unquote(parts[2])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var labels []string
		for _, constant := range strings.Split(parts[3], ",") {
			if label, _, ok := strings.Cut(constant, "="); ok {
				labels = append(labels, "`"+label+"`")
			}
		}
		for _, label := range strings.Split(parts[4], ",") {
			if label != "" {
				labels = append(labels, "`"+label+"`")
			}
		}
		slices.Sort(labels)
		kind := types[name]
		if kind == "" { // nothing is counted yet
			kind = "gauge"
			if strings.HasSuffix(name, "_total") {
				kind = "counter"
			}
			t.Logf("%s has no sample, and so is taken for a %s", name, kind)
		}
		lines[name] = fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, kind, strings.Join(labels, ", "), unitOf(name), strings.TrimSuffix(help, "."))
	}
	var sorted []string
	for _, line := range lines {
		sorted = append(sorted, line)
	}
	slices.Sort(sorted)
	return sorted
}

// unitOf returns the unit in the name of a metric; "" for a number of things.
func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	for _, unit := range []struct{ suffix, name string }{{"_timestamp_seconds", "Unix time"}, {"_seconds", "seconds"}, {"_bytes", "bytes"}} {
		if strings.HasSuffix(name, unit.suffix) {
			return unit.name
		}
	}
	return ""
}
