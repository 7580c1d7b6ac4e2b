package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// TestLoginRefused: the answer to an unknown app, an unknown key and an app of another user is the
// same.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	v := newSite(t).serve()
	stranger := v.site.newKey("stranger")
	var first string
	for _, test := range []struct{ name, app, key string }{
		{"unknown app", "wob", v.site.key},
		{"unknown key", "web", stranger},
		{"unknown app and key", "wob", stranger},
		{"another's app", "api", v.site.key},
	} {
		got := runTo(t, v.openssh(test.key, test.app+"@127.0.0.1", "true"))
		if got.status != 255 || got.stdout != "" || !strings.Contains(got.stderr, "Permission denied (publickey)") {
			t.Errorf("%s: %+v", test.name, got)
		}
		told := strings.ReplaceAll(got.stderr, test.app+"@", "APP@") // which the user has typed
		if first == "" {
			first = told
		}
		if told != first {
			t.Errorf("%s is answered with %q, and an unknown app with %q", test.name, told, first)
		}
	}
	// No operation was created: the next is the first.
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "true"))
	if operation := operationOf(t, []byte(got.stderr)); operation != "1" {
		t.Errorf("the first session is operation %s", operation)
	}
}

// TestServeRefuses checks the errors of a serve that cannot start.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	running := newSite(t).serve()

	refused := func(name string, s *site, status int, words ...string) {
		t.Helper()
		v := s.launch()
		if got := v.status(); got != status {
			t.Errorf("%s: exit status %d, want %d", name, got, status)
		}
		log := v.log.String()
		for _, w := range words {
			if !strings.Contains(log, w) {
				t.Errorf("%s: no %q in %q", name, w, log)
			}
		}
	}

	refused("the gateway's address is taken", newSite(t, withListen(running.ssh)), 1,
		"ttydrain.yaml:", ": gateway.listen: ", running.ssh, "address already in use", "is another ttydrain running")

	taken := newSite(t)
	taken.replace("admin: {listen: 127.0.0.1:0}", "admin: {listen: \""+running.admin+"\"}")
	refused("the admin address is taken", taken, 1, "ttydrain.yaml:", ": admin.listen: ", running.admin, "address already in use")

	shared := newSite(t)
	shared.replace("store: ./data", "store: "+running.site.store)
	refused("the store is in use", shared, 1, "ttydrain.yaml:", ": store: ", running.site.store, "in use by another ttydrain", "stop that one, or configure another store for this one")

	missing := newSite(t)
	if err := os.Remove(missing.key + ".pub"); err != nil {
		t.Fatal(err)
	}
	refused("a missing key file", missing, 1, missing.config+":7:", "users[0].authorized_keys[0]", filepath.Join(missing.dir, "ada.pub"), "does not exist", "ssh-keygen")

	noKey := newSite(t)
	noKey.write(filepath.Join(noKey.dir, "document_key.pem"), "no key\n")
	refused("a signing key that is none", noKey, 1, "user_document.signing_key", "holds no private key")

	file := newSite(t)
	file.write(file.store, "a file where the store shall be\n")
	refused("a store that is a file", file, 1, "ttydrain.yaml:", ": store: ", file.store, "is not a folder")

	// None of them has affected the running serve.
	if got := runTo(t, running.openssh(running.site.key, "web@127.0.0.1", "echo works")); got.stdout != "works\n" {
		t.Errorf("the one that runs: %+v", got)
	}
	if status := running.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	// After a stop, the addresses and the store are free at once.
	again := newSite(t, withListen(running.ssh)).serve()
	if status := again.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// replace changes the configuration.
func (s *site) replace(old, new string) {
	s.t.Helper()
	data, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	text := strings.Replace(string(data), old, new, 1)
	if text == string(data) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	s.write(s.config, text)
}

// TestCheckConnect checks drains of each type: one that works, and one that is down.
func TestCheckConnect(t *testing.T) {
	t.Parallel()
	drains := threeDrains(t)
	good := newSite(t, entries(drains))
	if got := ttydrain(t, "check", "-c", good.config, "--connect"); got.status != 0 || strings.Count(got.stdout, ": can be reached\n") != len(drains) ||
		!strings.Contains(got.stdout, fmt.Sprintf("summary: all %d drains can be reached", len(drains))) {
		t.Errorf("drains that work: %+v", got)
	}
	dead := porttest.Reserve(t)
	untrusted := regexp.MustCompile(`ca_file: "[^"]*", `).ReplaceAllString(drains[0].entry, "")
	untrusted = strings.Replace(untrusted, "name: https", "name: untrusted", 1)
	bad := newSite(t, withDrains(
		drains[0].entry,
		`{name: dead-https, type: https, url: "https://`+dead+`/"}`,
		`{name: dead-search, type: elasticsearch, urls: ["http://`+dead+`"]}`,
		`{name: dead-syslog, type: syslog, address: "`+dead+`"}`,
		untrusted,
	))
	got := ttydrain(t, "check", "-c", bad.config, "--connect")
	if got.status != 1 || !strings.Contains(got.stdout, "drain https: can be reached\n") {
		t.Errorf("drains that are dead: %+v", got)
	}
	if !strings.Contains(got.stdout, "\nsummary: 1 of 5 drains can be reached; failed: dead-https, dead-search, dead-syslog, untrusted") {
		t.Errorf("no summary in %s", got.stdout)
	}
	for name, remedy := range map[string]string{
		"dead-https":  "start the drain, or correct the address",
		"dead-search": "start the drain, or correct the address",
		"dead-syslog": "start the drain, or correct the address",
		"untrusted":   "set ca_file",
	} {
		_, table, _ := strings.Cut(got.stdout, "drain "+name+": FAILED\n")
		table, _, _ = strings.Cut(table, "\ndrain ")
		if !strings.Contains(table, "do: "+remedy) {
			t.Errorf("drain %s: no %q in %q", name, remedy, table)
		}
	}
}

// TestCheckWarnsOfProxies: an unusable proxy is reported, without the value of the variable, which
// can have a password.
func TestCheckWarnsOfProxies(t *testing.T) {
	t.Parallel()
	site := newSite(t, withDrains(`{name: siem, type: https, url: "https://logs.example.com/"}`,
		`{name: search, type: elasticsearch, urls: ["https://search.example.com", "http://search.example.com"]}`))
	for _, test := range []struct{ name, env, warned string }{
		{"none", "", ""},
		{"good", "HTTPS_PROXY=http://user:s3cr3t@proxy.example.com:3128", ""},
		{"only a host", "HTTPS_PROXY=proxy.example.com:3128", ""},
		{"no URL", "HTTPS_PROXY=http://user:s3cr3t@proxy example:3128", "HTTPS_PROXY"},
		{"unknown scheme", "HTTPS_PROXY=ftp://user:s3cr3t@proxy.example.com", "HTTPS_PROXY"},
		{"in small letters", "https_proxy=http://", "https_proxy"},
		{"of HTTP alone", "HTTP_PROXY=http://[proxy", "HTTP_PROXY"},
	} {
		cmd := exec.Command(site.program, "check", "-c", site.config)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), test.env, "GORACE=atexit_sleep_ms=0"}
		got := runTo(t, cmd)
		want := ""
		if test.warned != "" {
			want = "WARNING: " + test.warned + " in this environment is not the address of a proxy"
		}
		if got.status != 0 || !strings.HasPrefix(got.stderr, want) || want != "" && !strings.Contains(got.stderr, "[W503]\n") || want == "" && got.stderr != "" || strings.Contains(got.stderr+got.stdout, "s3cr3t") {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// TestRequire: missing features of the host for sandboxes are reported at the start, once each,
// with advice; if they are required, nothing starts.
func TestRequire(t *testing.T) {
	t.Parallel()
	site := newSite(t, withoutRaces)
	if os.Getuid() == 0 { // one that cannot switch to another user; an ordinary user lacks features in any case another user; an ordinary user lacks something as it is
		const without = "-sys_admin,-setuid,-setgid"
		less := filepath.Join(site.dir, "less")
		site.write(less, fmt.Sprintf("#!/bin/sh\nexec %s --bounding-set=%s --inh-caps=%s %s \"$@\"\n", need(t, "setpriv"), without, without, site.program))
		if err := os.Chmod(less, 0o700); err != nil {
			t.Fatal(err)
		}
		site.program = less
	}
	v := site.serve()
	ready := v.logged("the sandbox runtime is ready", "capabilities")
	if len(ready) != 1 {
		t.Fatalf("the sandbox runtime is told %d times: %q", len(ready), ready)
	}
	lacks, remedies := v.logged("sessions lack a protection", "feature"), v.logged("sessions lack a protection", "advice")
	for _, f := range sandbox.Features() {
		told := len(slices.DeleteFunc(slices.Clone(lacks), func(l string) bool { return l != string(f) }))
		if slices.Contains(strings.Fields(ready[0]), string(f)) {
			told++
		}
		if told != 1 {
			t.Errorf("%s is told %d times: in force are %q, missing %q", f, told, ready, lacks)
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	if len(lacks) == 0 {
		t.Fatal("nothing is missing")
	}
	site.edit("\ndrains:", "\nsandbox: {require: ["+lacks[0]+"]}\ndrains:")
	refused := site.launch()
	if status := refused.status(); status != 1 || !strings.Contains(refused.log.String(), "no "+lacks[0]+": ") || !strings.Contains(refused.log.String(), remedies[0]) {
		t.Errorf("with %s required, serve ended with %d: %s", lacks[0], status, refused.log)
	}
}

// TestMissingPrograms: the machine that runs a gateway warns of programs of apps that it lacks.
func TestMissingPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t, withoutRaces)
	s.edit("- {name: api, stack: default,", "- {name: shell, stack: default, command: [/bin/zshx]}\n  - {name: api, stack: default,")
	if got := ttydrain(t, "check", "-c", s.config); got.status != 0 || !strings.Contains(got.stderr, `.command: "/bin/zshx" does not exist on this machine`) || !strings.Contains(got.stderr, "[W502]\n") {
		t.Errorf("check: %+v", got)
	}
	v := s.serve()
	if status := v.stop(); status != 0 || len(v.logged("the configuration is accepted with a warning", "field")) != 1 || !strings.Contains(v.log.String(), `"code":"W502"`) {
		t.Errorf("serve ended with %d: %s", status, v.log)
	}
}
