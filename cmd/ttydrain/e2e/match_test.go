package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestMatch: the records of a drain are selected by the filter of its consumer, so that NATS sends
// it nothing else. A changed match holds from the next record on. A drain without ephemeral
// sessions has no consumer at all.
func TestMatch(t *testing.T) {
	t.Parallel()
	all, some, none := httpsDrain(t, "all", ", format: ndjson"), httpsDrain(t, "some", ", format: ndjson, match: {apps: [web], stacks: [default]}"),
		httpsDrain(t, "none", ", format: ndjson, drain_ephemeral_sessions: false, drain_apps: true, drain_databases: false, drain_proxies: true")
	nats := bustest.Start(t, natsFiles+"nkeys.conf", nil)
	site := newClusterSite(t, nats, func(user string) string { return fmt.Sprintf("nkey_seed_file: %q", nats.Seeds[user]) }, withoutRaces, entries([]*destination{all, some, none}))
	site.apply()
	gateway, _ := site.role("gateway"), site.role("enrich")
	router := site.role("router")
	// reads are the filters by which LOGS is read, each by one consumer in each partition, and the
	// number of messages that those received.
	reads := func() (filters []string, sent map[string]uint64) {
		info, err := nats.Jsz(&natsserver.JSzOptions{Accounts: true, Streams: true, Consumer: true, Config: true})
		if err != nil {
			t.Fatal(err)
		}
		sent = make(map[string]uint64)
		seen := make(map[string]bool)
		for _, account := range info.AccountDetails {
			for _, stream := range account.Streams {
				if stream.Name != schema.StreamLogs {
					continue
				}
				for _, consumer := range stream.Consumer {
					for _, f := range append(consumer.Config.FilterSubjects, consumer.Config.FilterSubject) {
						if f == "" {
							continue
						}
						_, rest, _ := strings.Cut(strings.TrimPrefix(f, "logs."), ".") // after the partition
						sent[rest] += consumer.Delivered.Consumer
						if seen[f] { // by one drain too many, or by the count of a lag, or by who counts for a moment what a drain does not have
							rest = "twice"
						}
						seen[f] = true
						if !slices.Contains(filters, rest) {
							filters = append(filters, rest)
						}
					}
				}
			}
		}
		slices.Sort(filters)
		return filters, sent
	}
	awaitReads := func(want ...string) {
		t.Helper()
		await(t, "for the consumers of the drains", func() bool {
			filters, _ := reads()
			return slices.Equal(filters, want)
		})
	}
	awaitReads("*.*.*", "default.web.*")
	first, shown := gateway.lines(50)
	for _, d := range []*destination{all, some} {
		mustBe(t, d.name, "the first session", d.transcript(t, first).stdout, shown)
	}
	router.reload("ok", func() { site.edit("apps: [web], stacks", "apps: [api], stacks") })
	awaitReads("*.*.*", "default.api.*")
	second, shown := gateway.lines(50)
	mustBe(t, all.name, "the second session", all.transcript(t, second).stdout, shown)
	if _, sent := reads(); sent["default.api.*"] != 0 || sent["*.*.*"] == 0 {
		t.Errorf("NATS has sent %v", sent)
	}
	router.reload("ok", func() { site.edit("apps: [api], stacks", "apps: [web], stacks") })
	awaitReads("*.*.*", "default.web.*")
	third, shown := gateway.lines(50)
	mustBe(t, some.name, "the third session", some.transcript(t, third).stdout, shown)
	// Records from before are not for this drain.
	if n := len(recordsOf(some.arrived(t, 0), second)); n != 0 {
		t.Errorf("of a session that its match did not take, a drain got %d records", n)
	}
	for _, operation := range []string{first, second, third} {
		if n := len(recordsOf(none.arrived(t, 0), operation)); n != 0 {
			t.Errorf("a drain without ephemeral sessions got %d records", n)
		}
	}
}

// TestAgreements: a configuration that would send health information to a drain without the
// agreement is refused at the line, at the start and at a reload; a session of a stack with phi
// goes only to the drains with the agreement.
func TestAgreements(t *testing.T) {
	t.Parallel()
	agreed, other := httpsDrain(t, "agreed", ", format: ndjson, agreements: [baa]"), httpsDrain(t, "other", ", format: ndjson, match: {apps: [api]}")
	site := newSite(t, withoutRaces, entries([]*destination{agreed, other}))
	site.edit("- {name: default, plan: growth}", "- {name: default, plan: growth, phi: true}\n  - {name: calm, plan: growth}")
	r := runTo(t, exec.Command(site.program, "check", "-c", site.config))
	line := fmt.Sprintf("%s:%d:5: drains[1]: matches the stack \"default\", which has phi: true", site.config, lineOf(t, site.config, "name: other"))
	if r.status != 1 || !strings.Contains(r.stdout+r.stderr, line) {
		t.Errorf("%q is not in %+v", line, r)
	}
	if status := site.launch().status(); status != 1 {
		t.Errorf("serve ended with %d", status)
	}
	site.edit("{name: api, stack: default,", "{name: api, stack: calm,")
	site.edit("apps: [web]}", "apps: [web, api]}")
	v := site.serve()
	v.reload("refused", func() { site.edit("match: {apps: [api]}", "match: {apps: [api, web]}") })
	clinic := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo secret"))
	calm := runTo(t, v.openssh(site.key, "api@127.0.0.1", "echo calm"))
	first, second := operationOf(t, []byte(clinic.stderr)), operationOf(t, []byte(calm.stderr))
	mustBe(t, agreed.name, "the session with health information", agreed.transcript(t, first).stdout, []byte("secret\n"))
	mustBe(t, other.name, "the other session", other.transcript(t, second).stdout, []byte("calm\n"))
	if n := len(recordsOf(other.arrived(t, 0), first)); n != 0 {
		t.Errorf("a drain without the agreement got %d records", n)
	}
	if status, body := v.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %s", status, body)
	}
}

// lineOf returns the number of the first line of a file that has a text.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(data), text)
	if !ok {
		t.Fatalf("%s is not in %s", text, file)
	}
	return strings.Count(before, "\n") + 1
}
