package main

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// releases are two versions of the packages, which the tests share.
var releases struct {
	once sync.Once
	dir  string
	err  error
}

// TestDeb installs, runs, upgrades, removes and purges the .deb with dpkg.
func TestDeb(t *testing.T) {
	t.Parallel()
	need(t, "dpkg")
	old, upgraded := packages(t)
	c := newContainer(t, releases.dir)
	if said := c.do("dpkg --force-unsafe-io -i " + old + ".deb"); !strings.Contains(said, "ttydrain is installed and not started") {
		t.Errorf("the installation said: %s", said)
	}
	c.installed()
	session := c.run()
	c.do("dpkg --force-unsafe-io -i " + upgraded + ".deb")
	if got := c.do("dpkg-query -W -f '${Version}' ttydrain"); got != "1.1.0-1" {
		t.Errorf("version %s is installed", got)
	}
	c.upgraded(session)
	c.do("dpkg --verify ttydrain >&2; dpkg --force-unsafe-io -r ttydrain")
	c.removed()
	c.do("dpkg --force-unsafe-io -P ttydrain; test ! -e /etc/ttydrain -a ! -e /var/lib/ttydrain; getent passwd ttydrain")
}

// TestRPM installs, runs, upgrades and removes the .rpm with rpm. The packages of this host are not
// rpm's, so that it knows no dependencies.
func TestRPM(t *testing.T) {
	t.Parallel()
	need(t, "rpm")
	old, upgraded := packages(t)
	c := newContainer(t, releases.dir)
	if said := c.do("rpm -i --nodeps " + old + ".rpm"); !strings.Contains(said, "ttydrain is installed and not started") {
		t.Errorf("the installation said: %s", said)
	}
	c.installed()
	c.do("rpm -V --nodeps ttydrain")
	session := c.run()
	c.do("rpm -U --nodeps " + upgraded + ".rpm")
	if got := c.do("rpm -q --qf '%{VERSION}' ttydrain"); got != "1.1.0" {
		t.Errorf("version %s is installed", got)
	}
	c.upgraded(session)
	c.asRoot()
	c.do("rpm -e --nodeps ttydrain")
	c.do("cmp /root/ttydrain.yaml /etc/ttydrain/ttydrain.yaml || cmp /root/ttydrain.yaml /etc/ttydrain/ttydrain.yaml.rpmsave")
	c.removed()
}

// packages returns the paths of two versions of the packages, without their extension, in a container.
func packages(t *testing.T) (old, upgraded string) {
	t.Helper()
	releases.once.Do(func() {
		releases.dir, releases.err = makePackages(context.Background()) // of all tests
	})
	if releases.err != nil {
		t.Fatal(releases.err)
	}
	base := func(version string) string { return "/mnt/ttydrain_" + version + "_linux_" + runtime.GOARCH }
	return base("1.0.0"), base("1.1.0")
}

// installed checks the state after the first installation.
func (c *container) installed() {
	c.t.Helper()
	for script, want := range map[string]string{
		"systemctl is-active ttydrain || :":                                          "inactive",
		"systemctl is-enabled ttydrain || :":                                         "disabled",
		"stat -c '%a %U:%G' /etc/ttydrain":                                           "700 ttydrain:ttydrain",
		"stat -c '%a %U:%G' /etc/ttydrain/ttydrain.yaml":                             "600 ttydrain:ttydrain",
		"stat -c '%a %U:%G' /var/lib/ttydrain":                                       "700 ttydrain:ttydrain",
		"stat -c '%a %U:%G' /usr/bin/ttydrain":                                       "755 root:root",
		"getent passwd ttydrain | cut -d: -f6,7":                                     "/var/lib/ttydrain:/usr/sbin/nologin",
		"ttydrain check -c /etc/ttydrain/ttydrain.yaml 2>&1 | head -1 | cut -d: -f4": " users",
		"bash -c '. /usr/share/bash-completion/completions/ttydrain; complete -p ttydrain | rev | cut -d\" \" -f1,2 | rev'":  "__start_ttydrain ttydrain",
		"systemd-analyze verify ttydrain.service ttydrain@gateway.service ttydrain@router.service 2>&1 | grep ttydrain || :": "",
		"head -1 /usr/share/doc/ttydrain/copyright | cut -d' ' -f1":                                                          "ttydrain",
	} {
		if got := strings.TrimSuffix(c.do(script), "\n"); got != want {
			c.t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	for page, want := range map[string]string{"1 ttydrain-drains-rewind": "--to", "1 ttydrain": "deadletters", "5 ttydrain.yaml": "authorized_keys"} {
		if text := c.do("MANWIDTH=100 man --warnings " + page + " 2>&1"); !strings.Contains(text, want) || strings.Contains(text, "warning:") {
			c.t.Errorf("man %s:\n%s", page, text)
		}
	}
	// Tenths of the exposure level, of which 10.0 is the worst.
	for unit, limit := range map[string]string{"ttydrain.service": "47", "ttydrain@gateway.service": "47", "ttydrain@router.service": "16"} {
		c.do("systemd-analyze security --no-pager --threshold=" + limit + " " + unit)
	}
}

// run configures ttydrain as the package's file says, starts it, and opens a session that is not
// over. Its drain has no receiver yet.
func (c *container) run() (session *output) {
	c.t.Helper()
	c.do(`set -e
ttydrain init --yes --user 'Ada Lovelace <ada@example.com>' --receiver 127.0.0.1:8443 /root/try
sed -e '/^users: \[\]/d' -e 's/^#users:/users:/' -e 's/^#\(  - {id: u-1\)/\1/' -e '/^drains: \[\]/d' /etc/ttydrain/ttydrain.yaml > /root/ttydrain.yaml
echo 'drains: [{name: local, type: https, url: "https://127.0.0.1:8443/logs", ca_file: ./ca.pem, format: ndjson}]' >> /root/ttydrain.yaml
echo 'sandbox: {require: [namespaces, read_only_root, hidden_files, no_new_privileges, capabilities, seccomp]}' >> /root/ttydrain.yaml
cat /root/ttydrain.yaml > /etc/ttydrain/ttydrain.yaml
install -m 600 -o ttydrain /root/try/receiver/ca.pem /etc/ttydrain/ca.pem
install -m 600 -o ttydrain /root/try/authorized_keys /etc/ttydrain/ada.pub
ttydrain check -c /etc/ttydrain/ttydrain.yaml
systemctl enable --now ttydrain`)
	c.await("ttydrain", func() bool { _, err := c.try("ttydrain ready"); return err == nil })
	if got := c.do(client + "-- 'echo first; cat /etc/ttydrain/ttydrain.yaml 2>&1; true'"); !strings.Contains(got, "first\n") || strings.Contains(got, "user_document") {
		c.t.Errorf("a session said %q", got)
	}
	session = new(output)
	cmd := c.command(client + "-- 'echo before the upgrade; exec sleep 1000'")
	cmd.Stdout, cmd.Stderr = session, session
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c.await("the session", func() bool { return strings.Contains(session.String(), "before the upgrade") })
	c.do("systemctl show -P MainPID ttydrain > /root/pid")
	return session
}

// client opens a session on the app of the package's configuration.
const client = "ttydrain ssh --accept-new -i /root/try/id_ed25519 "

// upgraded checks the state after the upgrade: ttydrain was restarted, the session has ended with a
// message, and the drain gets all that was shown, before and after, once it has a receiver.
func (c *container) upgraded(session *output) {
	c.t.Helper()
	c.await("ttydrain after the upgrade", func() bool { _, err := c.try("ttydrain ready"); return err == nil })
	c.do("test $(systemctl show -P MainPID ttydrain) != $(cat /root/pid) && cmp /root/ttydrain.yaml /etc/ttydrain/ttydrain.yaml")
	c.await("the end of the session", func() bool { return strings.Contains(session.String(), "this gateway is being stopped") })
	c.do(client + "-- 'echo after the upgrade'")
	receiver := c.command("exec ttydrain receive --https 127.0.0.1:8443 --syslog '' --certificates /root/try/receiver --file /root/received.ndjson")
	if err := receiver.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = receiver.Process.Kill(); _ = receiver.Wait() })
	c.await("all records", func() bool {
		got, _ := c.try("cat /root/received.ndjson")
		return strings.Contains(got, `before the upgrade`) && strings.Contains(got, `after the upgrade`) && strings.Count(got, `"event":"end"`) == 3
	})
	c.do("ttydrain audit -c /etc/ttydrain/ttydrain.yaml --from /root/received.ndjson")
}

// asRoot applies the drop-in for a gateway that is root, as its comment says: sessions have a user
// of their own.
func (c *container) asRoot() {
	c.t.Helper()
	c.do(`set -e
sed -n 's/^#   //p' /usr/share/doc/ttydrain/examples/sandbox-root.conf > /root/commands
cd /usr/share/doc/ttydrain/examples
sh -ex /root/commands`)
	c.await("ttydrain as root", func() bool { _, err := c.try("ttydrain ready"); return err == nil })
	if got := c.do(client + "-- 'id -u; id -un'"); !strings.Contains(got, "18790") || !strings.Contains(got, "session\n") {
		c.t.Errorf("the session's user is %q", got)
	}
}

// removed checks the state after the removal: what runs has stopped, and the data stays.
func (c *container) removed() {
	c.t.Helper()
	c.do("test ! -e /usr/bin/ttydrain -a -d /var/lib/ttydrain/data -a -d /etc/ttydrain")
	if got := c.do("pgrep -x ttydrain -U ttydrain || echo none"); got != "none\n" {
		c.t.Errorf("still running: %s", got)
	}
}
