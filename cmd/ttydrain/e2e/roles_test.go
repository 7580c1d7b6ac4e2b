package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// natsFiles is the folder of the configuration files for NATS servers.
const natsFiles = "../../../pipeline/bus/nats/"

// A clusterSite is a site on an external NATS server, with a configuration for each NATS user.
type clusterSite struct {
	*site
	nats *bustest.Server
	// identity is the configuration of the credentials of a user, in YAML.
	identity func(user string) string
}

// newClusterSite returns a site whose parts authenticate with identity at a NATS server.
func newClusterSite(t testing.TB, nats *bustest.Server, identity func(user string) string, options ...siteOption) *clusterSite {
	t.Helper()
	c := &clusterSite{newSite(t, options...), nats, identity}
	text, err := os.ReadFile(c.site.config)
	if err != nil {
		t.Fatal(err)
	}
	common := strings.Replace(string(text), "admin: {listen: 127.0.0.1:0}", "admin: {listen: 127.0.0.1:0, token: operators}", 1)
	for _, user := range bustest.Users() {
		section := fmt.Sprintf("nats: {url: %q, replicas: 1, ca_file: %q, cert_file: %q, key_file: %q, %s}", nats.URL, nats.CAFile, nats.CertFile, nats.KeyFile, identity(user))
		c.write(c.file(user), strings.Replace(common, "store: ./data", section, 1))
	}
	return c
}

// file returns the configuration of a user.
func (c *clusterSite) file(user string) string { return filepath.Join(c.dir, user+".yaml") }

// role starts a part of ttydrain with its own configuration.
func (c *clusterSite) role(name string) *server {
	c.t.Helper()
	c.config = c.file(name)
	return c.serve("--role", name)
}

// apply creates the streams.
func (c *clusterSite) apply() []bus.Applied {
	c.t.Helper()
	r := runTo(c.t, exec.Command(c.program, "streams", "apply", "-c", c.file("admin"), "--output", "json"))
	var done []bus.Applied
	if r.status != 0 || json.Unmarshal([]byte(r.stdout), &done) != nil {
		c.t.Fatalf("streams apply: %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	return done
}

// deadLetters writes dead letters, as a router does.
func (c *clusterSite) deadLetters(t testing.TB, drain string, n uint64) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{URL: c.nats.URL, NKeySeedFile: c.nats.Seeds["router"], Role: bus.RoleRouter,
		TLS: sinks.TLS{CAFile: c.nats.CAFile, CertFile: c.nats.CertFile, KeyFile: c.nats.KeyFile}.Config})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	op := &schema.Operation{ID: "letters", App: "web", Stack: "default", Started: time.Now()}
	for i := range n {
		record := schema.Record{Event: schema.EventOutput, Sequence: i + 1, Time: time.Now().UnixNano(), Log: []byte("x\n"), Text: []byte("x")}
		letter, err := schema.NewDeadLetter(drain, "the drain never takes it", 400, time.Now(), op, &record)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.PublishDeadLetter(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
	}
}

// lines runs a session on a terminal that shows a number of lines.
func (v *server) lines(n int) (operation string, shown []byte) {
	t := v.site.t
	t.Helper()
	w := new(watcher)
	status, err := v.dial().Run(t.Context(), client.Session{
		Command:  fmt.Sprintf(`i=0; while [ $i -lt %d ]; do echo "line $((i++)) größe"; done`, n),
		Terminal: &client.Terminal{Name: "xterm", Size: client.Size{Width: 80, Height: 24}}, Stdout: w,
	})
	if err != nil || status != 0 {
		t.Fatalf("the session ended with %d, %v", status, err)
	}
	return operationOf(t, w.bytes()), w.bytes()
}

// TestRoles runs the parts of ttydrain as processes of their own, two of each but the gateway,
// which share the work, and kills one of each: the others go on with it, and nothing is lost or out
// of order. Each authenticates by an NKey over TLS at a NATS server with the configuration file for
// operators, which has the permissions of each part.
func TestRoles(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "ndjson", ", format: ndjson")
	nats := bustest.Start(t, natsFiles+"nkeys.conf", nil)
	site := newClusterSite(t, nats, func(user string) string { return fmt.Sprintf("nkey_seed_file: %q", nats.Seeds[user]) },
		withoutRaces, withDrains(d.entry))
	for _, a := range site.apply() {
		if a.Result != "created" {
			t.Errorf("%s: %s at first", a.Name, a.Result)
		}
	}
	for _, a := range site.apply() {
		if a.Result != "unchanged" {
			t.Errorf("%s: %s again", a.Name, a.Result)
		}
	}

	gateway := site.role("gateway")
	first := []*server{site.role("enrich"), site.role("router")}
	session := func(lines int) (operation string, shown []byte) {
		t.Helper()
		return gateway.lines(lines)
	}
	check := func(operation string, shown []byte) {
		t.Helper()
		got := d.transcript(t, operation)
		if !bytes.Equal(got.stdout, shown) {
			mustBe(t, d.name, "operation "+operation, got.stdout, shown)
		}
	}
	check(session(500))
	second := []*server{site.role("enrich"), site.role("router")}
	// The second ones get their share of the work, without a failure.
	await(t, "for both routers to work", func() bool {
		before := first[1].delivered(d.name)
		check(session(10))
		return second[1].delivered(d.name) > 0 && first[1].delivered(d.name) > before
	})
	operation, shown := session(5000)
	for _, v := range first {
		v.signal(syscall.SIGKILL)
		v.status()
	}
	check(operation, shown)
	check(session(500))

	router := second[1]
	await(t, "for the drain to be delivered to", func() bool { return router.drainStatus(d.name).State == "delivering" })
	site.deadLetters(t, d.name, 2)
	for _, args := range [][]string{
		{"drains", "pause", d.name, "--yes"}, {"drains", "resume", d.name}, {"drains", "test", d.name},
		{"drains", "rewind", d.name, "--operation", operation, "--yes"}, {"drains", "rewind", d.name, "--to", "2020-01-31T09:30:00Z", "--yes"},
		{"deadletters", "list", "--drain", d.name}, {"deadletters", "show", "1"}, {"deadletters", "redeliver", "1"}, {"deadletters", "discard", "2", "--yes"},
	} {
		router.operate(args...)
	}
	if got := string(router.operate("deadletters", "list")); strings.TrimSpace(got) != "[]" {
		t.Errorf("dead letters are left: %s", got)
	}
	if r := ttydrain(t, "drains", "list", "-c", site.config, "--admin", gateway.admin); r.status != 1 || !strings.Contains(r.stderr, "router") {
		t.Errorf("a gateway was asked for the drains: %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	check(session(50))
	// After a restart a gateway ends the sessions of the previous process.
	gateway.signal(syscall.SIGKILL)
	gateway.status()
	gateway = site.role("gateway")
	check(session(50))
	for _, v := range append(second, gateway) {
		if status := v.stop(); status != 0 {
			t.Errorf("a part ended with %d", status)
		}
	}
	if refused := nats.Refused(); len(refused) > 0 {
		t.Errorf("the server refused what ttydrain needs:\n%s", strings.Join(refused, "\n"))
	}
}

// TestRolesCredentials runs the parts with the JWTs of an operator, each of which has the
// permissions of its role.
func TestRolesCredentials(t *testing.T) {
	t.Parallel()
	d := httpsDrain(t, "ndjson", ", format: ndjson")
	operator := bustest.NewOperator(t)
	nats := bustest.Start(t, natsFiles+"nkeys.conf", operator.Trusted)
	dir := t.TempDir()
	site := newClusterSite(t, nats, func(user string) string {
		file := filepath.Join(dir, user+".creds")
		operator.Credentials(t, file, nats.Permissions[user])
		return fmt.Sprintf("credentials_file: %q", file)
	}, withoutRaces, withDrains(d.entry))
	site.apply()
	parts := []*server{site.role("gateway"), site.role("enrich"), site.role("router")}
	operation, shown := parts[0].lines(100)
	if got := d.transcript(t, operation); !bytes.Equal(got.stdout, shown) {
		mustBe(t, d.name, "operation "+operation, got.stdout, shown)
	}
	for _, v := range parts {
		if status := v.stop(); status != 0 {
			t.Errorf("a part ended with %d", status)
		}
	}
	if refused := nats.Refused(); len(refused) > 0 {
		t.Errorf("the server refused what ttydrain needs:\n%s", strings.Join(refused, "\n"))
	}
}

// TestRolesRefused starts parts to which NATS denies permissions: each ends, with advice.
func TestRolesRefused(t *testing.T) {
	t.Parallel()
	nats := bustest.Start(t, natsFiles+"passwords.conf", nil)
	site := newClusterSite(t, nats, func(user string) string { return fmt.Sprintf("username: %s, password: %s", user, nats.Passwords[user]) }, withoutRaces)
	refused := func(what, user, role, change, to string, want ...string) {
		t.Helper()
		text, err := os.ReadFile(site.file(user))
		if err != nil {
			t.Fatal(err)
		}
		if change != "" && !strings.Contains(string(text), change) {
			t.Fatalf("%s: %s is not in the configuration", what, change)
		}
		site.config = filepath.Join(site.dir, "changed.yaml")
		site.write(site.config, strings.Replace(string(text), change, to, 1))
		v := site.launch("--role", role)
		if status := v.status(); status != 1 {
			t.Errorf("%s: it ended with %d", what, status)
		}
		for _, w := range want {
			if !strings.Contains(v.log.String(), w) {
				t.Errorf("%s: %q is not in\n%s", what, w, v.log)
			}
		}
		if strings.Contains(v.log.String(), nats.Passwords[user]) {
			t.Errorf("%s: the password is told", what)
		}
	}
	refused("no streams", "gateway", "gateway", "", "", "$JS.API.STREAM.CREATE.TTY", "role gateway", "ttydrain streams apply")
	refused("another authority", "gateway", "gateway", nats.CAFile, sinktest.NewAuthority(t).File, "unknown authority", "nats.ca_file")
	refused("another's user", "router", "enrich", "", "", "_INBOX_ttydrain_enrich", "role enrich", "nats.inbox_prefix")
	refused("another's user and inbox", "router", "enrich", "username:", "inbox_prefix: _INBOX_ttydrain_router, username:", "$JS.API.STREAM.INFO.TTY", "role enrich")
	refused("another password", "router", "router", nats.Passwords["router"], "other", "does not accept these credentials", "password")
}
