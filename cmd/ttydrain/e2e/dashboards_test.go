package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/dashboards/dashtest"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// laterElasticsearchDrain returns a drain to a real node, at an address without a listener until
// start is called.
func laterElasticsearchDrain(t testing.TB, name string) (d *destination, start func()) {
	t.Helper()
	node := nodes.Node(t, estest.Options{Security: true})
	d = elasticsearchDrainAt(t, name, node, "")
	address := porttest.Reserve(t)
	d.entry = strings.Replace(d.entry, node.URL, "http://"+address, 1)
	to, err := url.Parse(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	return d, func() {
		t.Helper()
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		proxy := &http.Server{Handler: httputil.NewSingleHostReverseProxy(to)}
		var serving sync.WaitGroup
		serving.Go(func() { proxy.Serve(l) }) // ends with the test
		t.Cleanup(func() {
			proxy.Close()
			serving.Wait()
		})
	}
}

// peopleOfDashboards adds to a configuration what sessions of many kinds need: the user Bob, whose
// key is the result, and two more stacks with an app each. On the stack brief, sessions last for
// three seconds.
func (s *site) peopleOfDashboards() (bob string) {
	s.edit("apps: [web]}\n", "apps: [web, brief]}\n  - {id: u-2, name: Bob Babbage, email: bob@example.com, authorized_keys: [./bob.pub], apps: [api, jobs]}\n")
	s.edit("stacks:\n", "stacks:\n  - {name: batch, plan: growth, session_duration: 1m}\n  - {name: brief, plan: growth, session_duration: 3s}\n")
	s.edit("\napps:\n", "\napps:\n  - {name: jobs, stack: batch, command: [/bin/bash]}\n  - {name: brief, stack: brief, command: [/bin/bash]}\n")
	return s.newKey("bob")
}

// checkDashboards runs sessions of all kinds, and then every query of the dashboards of ttydrain
// against the Elasticsearch of a drain, which misses all of one session and a part of before. What
// each panel shows is compared with the records of the drain up.
func (v *server) checkDashboards(t *testing.T, bob string, search, up *destination, missed, before string) {
	t.Helper()
	operations := []string{before}
	run := func(key, app, command string, statuses ...int) {
		t.Helper()
		got := runTo(t, v.openssh(key, app+"@127.0.0.1", command))
		if !slices.Contains(statuses, got.status) {
			t.Fatalf("%s on %s: %+v", command, app, got)
		}
		operations = append(operations, operationOf(t, []byte(got.stderr)))
	}
	run(v.site.key, "web", "exit 3", 3)
	run(bob, "jobs", "echo it goes wrong; false", 1)
	run(bob, "jobs", "echo it goes wrong; false", 1)
	run(v.site.key, "brief", "sleep 10000", 128+9) // it expires
	expired := operations[4]
	var running sync.WaitGroup
	running.Go(func() { run(bob, "api", "sleep 10000", 128+9, 255) }) // ends when it is killed, perhaps before its command runs
	var killed string
	await(t, "for the session that is to be killed", func() bool {
		list := v.listed("--app", "api")
		if len(list) == 1 {
			killed = list[0].Operation
		}
		return killed != ""
	})
	v.killed(0, killed, "--reason", "the incident is over")
	running.Wait()
	var report drain.Report
	if err := json.Unmarshal(v.operate("drains", "test", search.name), &report); err != nil || !report.OK {
		t.Fatalf("drains test: %v, %+v", err, report)
	}

	// The expected content of the panels.
	const ada, bobs = "ada@example.com", "bob@example.com"
	shown := make(map[string]uint64) // by app, by person, and "" in all
	failed := []string{}
	var lines []string
	search.awaitEnds(t, operations...)
	for _, operation := range operations {
		copied := up.transcript(t, operation)
		end := copied.end
		for _, by := range []string{"", end.App, end.OperationUserEmail} {
			shown[by] += *end.Record.Bytes
		}
		for _, r := range copied.events("output") {
			lines = append(lines, fmt.Sprintf("%s | %s | %s | %s", operation, end.App, end.OperationUserEmail, r.Text))
		}
		if end.Reason == "exit" && *end.ExitStatus != 0 {
			failed = append(failed, fmt.Sprintf("%s | %s | %s | %s | %d | %d", operation, end.Stack, end.App, end.OperationUserEmail, *end.ExitStatus, *end.Record.Bytes))
		}
	}
	lost := up.transcript(t, missed)
	rows := func(format string, by ...string) (rows []string) {
		for _, b := range by {
			rows = append(rows, fmt.Sprintf(format, b, shown[b]))
		}
		return rows
	}
	want := map[string][]string{
		"choose App":                     {"api", "brief", "jobs", "web"},
		"choose Stack":                   {"batch", "brief", "default"},
		"choose Person":                  {ada, bobs},
		"Sessions":                       {"6"},
		"People":                         {"2"},
		"Failed exits":                   {"3"},
		"Expired or killed":              {"2"},
		"Shown":                          {fmt.Sprint(shown[""])},
		"Gaps":                           {"1"},
		"Sessions by app":                {"api | 1", "brief | 1", "jobs | 2", "web | 2"},
		"Sessions by stack":              {"batch | 2", "brief | 1", "default | 3"},
		"Sessions by person":             {ada + " | 3", bobs + " | 3"},
		"Ends by reason":                 {"exit | 4", "expired | 1", "killed | 1"},
		"Commands":                       {"echo it goes wrong; false | 2 | 1", "exit 3 | 1 | 1", "seq 300 | 1 | 1", "sleep 10000 | 2 | 2"},
		"Shown by app":                   rows("%s | %d", "api", "brief", "jobs", "web"),
		"Shown by person":                rows("%s | %d | 3", ada, bobs),
		"Missing by app":                 {fmt.Sprintf("web | %d", *lost.end.Record.Bytes)},
		"Failed sessions":                failed,
		"What was shown":                 lines,
		"Failed exits by app and person": {"jobs | " + bobs + " | 1 | 2", "web | " + ada + " | 3 | 1"},
		"Gap records": {fmt.Sprintf("%s | web | %s | 0 | %d | 1 | %d | - | the drain was not there for longer than the streams keep data",
			missed, ada, *lost.end.Record.Bytes, len(lost.records))},
		"Expiries and kills": {
			expired + " | brief | brief | " + ada + " | expired | - | -",
			killed + " | default | api | " + bobs + " | killed | " + requester(t) + " | the incident is over"},
	}

	node := nodes.Node(t, estest.Options{Security: true})
	node.Do(t, http.MethodPost, "/"+search.dataStream+"/_refresh", nil)
	printed := func(args ...string) []byte {
		t.Helper()
		got := runTo(t, exec.Command(v.site.program, append([]string{"dashboards"}, args...)...))
		if got.status != 0 || got.stderr != "" {
			t.Fatalf("dashboards %q: %+v", args, got)
		}
		return []byte(got.stdout)
	}
	now := time.Now()
	all := dashtest.Range{From: now.Add(-time.Hour), To: now.Add(time.Minute)}
	kibana, err := dashtest.Kibana(printed("kibana", "--data-stream", search.dataStream), all)
	if err != nil {
		t.Fatal(err)
	}
	text := printed("grafana")
	grafana, err := dashtest.Grafana(text, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(dashboard string, panels []dashtest.Panel, want map[string][]string) {
		t.Helper()
		for _, p := range panels {
			expected, ok := want[p.Title]
			if !ok {
				t.Errorf("%s: nobody says what the panel %s should show", dashboard, p.Title)
				continue
			}
			if p.Index != "" && p.Index != search.dataStream {
				t.Errorf("%s: the panel %s asks %s", dashboard, p.Title, p.Index)
			}
			got, err := p.Rows(node.Do(t, http.MethodPost, "/"+search.dataStream+"/_search", p.Body))
			if err != nil {
				t.Errorf("%s: %v", dashboard, err)
				continue
			}
			expected = slices.Sorted(slices.Values(expected))
			if slices.Sort(got); !slices.Equal(got, expected) {
				without := func(rows, others []string) string {
					return strings.Join(slices.DeleteFunc(slices.Clone(rows), func(r string) bool { return slices.Contains(others, r) }), "\n")
				}
				t.Errorf("%s: the panel %s shows %d rows, want %d. It should not show\n%s\nand should show\n%s", dashboard, p.Title, len(got), len(expected),
					without(got, expected), without(expected, got))
			}
		}
		if len(panels) != len(want) {
			t.Errorf("%s has %d panels, and %d are expected", dashboard, len(panels), len(want))
		}
	}
	check("Kibana", kibana, want)
	check("Grafana", grafana, want)

	// A selected stack narrows the panels, in the form in which Grafana writes it.
	if grafana, err = dashtest.Grafana(text, all, map[string]string{"stack": `("batch")`, "person": `("bob@example.com" OR "ada@example.com")`}); err != nil {
		t.Fatal(err)
	}
	grafana = slices.DeleteFunc(grafana, func(p dashtest.Panel) bool { return p.Title != "Sessions by app" && p.Title != "Gaps" })
	check("Grafana, of a stack", grafana, map[string][]string{"Sessions by app": {"jobs | 2"}, "Gaps": {"0"}})
}
