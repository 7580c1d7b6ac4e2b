package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// edit replaces a text in the site's configuration, by a rename as editors do it.
func (s *site) edit(old, new string) {
	s.t.Helper()
	data, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if bytes.Count(data, []byte(old)) != 1 {
		s.t.Fatalf("%q is not there once:\n%s", old, data)
	}
	s.swap(s.config, strings.Replace(string(data), old, new, 1))
}

// swap replaces a file by a new one.
func (s *site) swap(name, text string) {
	s.t.Helper()
	s.write(name+".new", text)
	if s.as != nil {
		if err := os.Chown(name+".new", int(s.as.Credential.Uid), int(s.as.Credential.Gid)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Rename(name+".new", name); err != nil {
		s.t.Fatal(err)
	}
}

// metric returns the value of a series.
func (v *server) metric(series string) float64 {
	v.site.t.Helper()
	_, body := v.get("/metrics")
	for line := range bytes.Lines(body) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(string(line)), series+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				v.site.t.Fatal(err)
			}
			return n
		}
	}
	v.site.t.Fatalf("there is no metric %s:\n%s", series, body)
	return 0
}

// reloads returns the number of reloads with a result.
func (v *server) reloads(result string) int {
	v.site.t.Helper()
	return int(v.metric(fmt.Sprintf("ttydrain_config_reloads_total{result=%q}", result)))
}

// reload runs change, and waits for the result of the reload.
func (v *server) reload(result string, do func()) {
	v.site.t.Helper()
	before := v.reloads(result)
	do()
	await(v.site.t, "for a reload with the result "+result, func() bool { return v.reloads(result) > before })
}

// hangup runs change and requests a reload at once. The poll can be faster: then the second load
// finds nothing new.
func (v *server) hangup(result string, change func()) {
	v.site.t.Helper()
	v.reload(result, func() {
		change()
		v.signal(syscall.SIGHUP)
	})
}

// logged returns the attribute of the messages of a level that have been logged.
func (v *server) logged(message, attribute string) []string {
	v.site.t.Helper()
	var values []string
	for lines := bufio.NewScanner(strings.NewReader(v.log.String())); lines.Scan(); {
		var entry map[string]any
		if json.Unmarshal(lines.Bytes(), &entry) == nil && strings.Contains(fmt.Sprint(entry["msg"]), message) {
			values = append(values, fmt.Sprint(entry[attribute]))
		}
	}
	return values
}

// TestReload changes users and settings of a running serve: valid ones are applied, mistakes are
// reported and change nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	v := site.serve()
	bob := site.newKey("bob")
	login := func(key string) result { t.Helper(); return runTo(t, v.openssh(key, "web@127.0.0.1", "echo in")) }
	mayLogin := func(key string, may bool) {
		t.Helper()
		got := login(key)
		switch {
		case may && (got.status != 0 || got.stdout != "in\n"):
			t.Errorf("%s can't log in: %+v", filepath.Base(key), got)
		case !may && (got.status != 255 || !strings.Contains(got.stderr, "Permission denied")):
			t.Errorf("%s can log in: %+v", filepath.Base(key), got)
		}
	}
	mayLogin(bob, false)
	loaded := v.metric("ttydrain_config_last_load_timestamp_seconds")

	// A user is added, while a session goes on undisturbed.
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	const ada, bobs = "authorized_keys: [./ada.pub], apps: [web]}\n", "  - {id: u-2, name: Bob, email: bob@example.com, authorized_keys: [./bob.pub], apps: [web]}\n"
	v.hangup(reloadOK, func() { site.edit(ada, ada+bobs) })
	mayLogin(bob, true)
	mayLogin(site.key, true)
	if now := v.metric("ttydrain_config_last_load_timestamp_seconds"); now <= loaded {
		t.Errorf("the configuration was loaded at %f, and then at %f", loaded, now)
	}

	// A file with mistakes: each is reported with its place, once, and nothing changes.
	successful := func(want float64) {
		t.Helper()
		if got := v.metric("ttydrain_config_last_reload_successful"); got != want {
			t.Errorf("whether the last reload was successful is %v, expected %v", got, want)
		}
	}
	successful(1)
	v.hangup(reloadRefused, func() {
		site.edit("apps: [web]}\n  - {id: u-2", "apps: [wbe]}\n  - {id: u-2")
		site.edit("plan: growth", "paln: growth")
	})
	successful(0)
	await(t, "for the mistakes in the log", func() bool { return len(v.logged("mistake", "place")) >= 2 })
	fields := strings.Join(v.logged("mistake", "field"), " ")
	places := v.logged("mistake", "place")
	if !strings.Contains(fields, "users[0].apps[0]") || !strings.Contains(fields, "stacks[0].paln") || !strings.HasPrefix(places[0], site.config+":") {
		t.Errorf("told were %s at %s", fields, places)
	}
	mayLogin(site.key, true)
	mayLogin(bob, true)
	site.edit("paln: growth", "plan: growth")
	v.hangup(reloadOK, func() { site.edit("apps: [wbe]}", "apps: [web]}") })
	successful(1)

	// A setting that is read at the start only: it is reported, and the other changes are not applied
	// either.
	v.hangup(reloadRefused, func() {
		site.edit("admin: {listen: 127.0.0.1:0}", "admin: {listen: 127.0.0.1:1}")
		site.edit("host_key: ./host_key", "host_key: ./another_key")
		site.edit(bobs, "")
	})
	await(t, "for the settings in the log", func() bool { return len(v.logged("restart to change it", "field")) >= 2 })
	if fields := v.logged("restart to change it", "field"); fields[0] != "gateway.host_key" || fields[1] != "admin.listen" {
		t.Errorf("told were %q", fields)
	}
	mayLogin(bob, true)
	site.edit("host_key: ./another_key", "host_key: ./host_key")

	// A user is removed, without a signal.
	v.reload(reloadOK, func() { site.edit("admin: {listen: 127.0.0.1:1}", "admin: {listen: 127.0.0.1:0}") })
	mayLogin(bob, false)
	mayLogin(site.key, true)

	// A file of keys changes, and the configuration does not.
	public, err := os.ReadFile(bob + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	v.reload(reloadOK, func() { site.swap(site.key+".pub", string(public)) })
	mayLogin(bob, true)
	mayLogin(site.key, false)

	shell.do("echo still here")
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	if shown, _ := shell.wait(); !bytes.Contains(shown, []byte("\rstill here\r\n")) {
		t.Errorf("the session that ran was disturbed: %q", shown)
	}
}

// TestReloadDrains moves a drain to another address in the middle of a session, and rotates the
// token of another one, whose receiver accepts only the new one.
func TestReloadDrains(t *testing.T) {
	t.Parallel()
	const secret = "token.secret"
	from, to, other := httpsDrain(t, "moving", ", format: ndjson"), httpsDrain(t, "moving", ", format: ndjson"), httpsDrain(t, "other", ", format: ndjson")
	vault := startTokenReceiver(t, "token-1")
	site := newSite(t, withDrains(from.entry, other.entry, fmt.Sprintf(
		`{name: vault, type: https, format: ndjson, url: "https://%s/logs", ca_file: %q, headers: {X-From: test, Authorization: "file:%s"}}`, vault.address, vault.ca, secret)))
	site.write(filepath.Join(site.dir, secret), "Bearer token-1\n")
	v := site.serve()

	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	shell.do("seq 3000")
	await(t, "for the first records at the old address", func() bool { return len(from.arrived(t, 0)) > 0 })
	shell.press("seq 20000\r") // until the end of the test
	vault.restart(t, "token-2")
	v.hangup(reloadOK, func() {
		site.edit(from.entry, to.entry)
		site.swap(filepath.Join(site.dir, secret), "Bearer token-2\n")
	})
	shell.expect("\n20000\r\n")
	shell.expect(prompt)
	shell.press("exit\r")
	shown, _ := shell.wait()
	operation := operationOf(t, shown)

	mustBe(t, "other", "the session at a drain that stayed", other.transcript(t, operation).shown, shown)
	mustBe(t, "vault", "the session at a drain whose token was rotated", vault.transcript(t, operation).shown, shown)
	to.awaitEnds(t, operation)
	both := append(from.arrived(t, 0), to.arrived(t, 0)...)
	mustBe(t, "moving", "the session at both addresses", transcriptOf(t, "moving", both, operation, true).shown, shown)
	if len(from.arrived(t, 0)) == 0 || hasEnd(from.arrived(t, 0), operation) {
		t.Error("the drain has not moved in the middle of the session")
	}

	// The unchanged drain was not restarted: its records came once.
	last := uint64(0)
	for _, r := range other.arrived(t, 0) {
		if last++; r.Sequence != last {
			t.Fatalf("the drain that stayed got record %d in the place of record %d", r.Sequence, last)
		}
	}
	// One that cannot be opened, and one that is removed.
	v.hangup(reloadRefused, func() { site.edit(other.entry, strings.Replace(other.entry, "ca.pem", "nothing.pem", 1)) })
	v.hangup(reloadOK, func() { site.edit("  - "+strings.Replace(other.entry, "ca.pem", "nothing.pem", 1)+"\n", "") })
	if _, body := v.get("/metrics"); bytes.Contains(body, []byte(`drain="other"`)) {
		t.Error("a drain that is gone has metrics")
	}
	got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo after"))
	mustBe(t, "moving", "a session afterwards", to.transcript(t, operationOf(t, []byte(got.stderr))).stdout, []byte("after\n"))
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	if hasEnd(other.arrived(t, 0), operationOf(t, []byte(got.stderr))) {
		t.Error("a drain that is gone got a session")
	}
	if log := v.log.String(); strings.Contains(log, "token-1") || strings.Contains(log, "token-2") {
		t.Error("the log has a token")
	}
}

// TestReloadCertificates replaces the authority of the certificates of a drain and its client, and
// the files while the drain fails: it recovers by itself.
func TestReloadCertificates(t *testing.T) {
	t.Parallel()
	before, after := sinktest.NewAuthority(t), sinktest.NewAuthority(t)
	d := httpsDrain(t, "siem", ", format: ndjson, cert_file: client.pem, key_file: client.key")
	g := newGate(t, before, d)
	g.rely(before)
	d.entry = strings.Replace(d.entry, strconv.Quote(before.File), "authority.pem", 1)
	site := newSite(t, withDrains(d.entry))
	install := func(a *sinktest.Authority) {
		t.Helper()
		cert, key := a.Issue(t, valid.until())
		for name, file := range map[string]string{"authority.pem": a.File, "client.pem": cert, "client.key": key} {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			site.swap(filepath.Join(site.dir, name), string(data))
		}
	}
	install(before)
	v := site.serve()
	session := func() (operation string) {
		t.Helper()
		got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo shown"))
		if got.status != 0 {
			t.Fatalf("%+v", got)
		}
		return operationOf(t, []byte(got.stderr))
	}
	arrives := func(operation string) {
		t.Helper()
		mustBe(t, d.name, "a session", d.transcript(t, operation).stdout, []byte("shown\n"))
	}
	arrives(session())
	g.rely(after)
	waiting := session()
	v.awaitStatus(d, func(s operate.DrainStatus) bool {
		return s.State == schema.DrainMisconfigured && strings.Contains(s.LastError, "ca_file")
	})
	install(after)
	arrives(waiting)
	arrives(session())
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// A tokenReceiver is an HTTPS receiver whose token can be changed.
type tokenReceiver struct {
	*destination
	address, ca string
	dir         string
	inbox       *inbox
	stop        func()
}

func startTokenReceiver(t testing.TB, token string) *tokenReceiver {
	t.Helper()
	b := new(inbox)
	r := &tokenReceiver{dir: t.TempDir(), inbox: b, address: "127.0.0.1:0",
		destination: &destination{name: "vault", exact: true, arrived: b.arrived, of: b.of, ends: b.ends, count: b.count}}
	r.ca = filepath.Join(r.dir, "ca.pem")
	r.start(t, token)
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *tokenReceiver) start(t testing.TB, token string) {
	t.Helper()
	server, err := receive.New(receive.Options{HTTPS: r.address, Dir: r.dir, Token: token, Handle: r.inbox.handle})
	if err != nil {
		t.Fatal(err)
	}
	r.address = server.HTTPSAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { // ends with stop
		if err := server.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); serving.Wait() }
}

// restart makes it require another token, at the same address.
func (r *tokenReceiver) restart(t testing.TB, token string) {
	t.Helper()
	r.stop()
	r.start(t, token)
}
