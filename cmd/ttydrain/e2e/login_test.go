package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWithoutConfiguration: operators' commands work while the configuration is being edited, and
// without one.
func TestWithoutConfiguration(t *testing.T) {
	t.Parallel()
	v := newSite(t).serve()
	session, _ := v.openSession()
	var stderr output // is read while the session writes
	session.Stderr = &stderr
	if err := session.Start("echo started >&2; sleep 1000"); err != nil {
		t.Fatal(err)
	}
	await(t, "the session", func() bool { return strings.Contains(stderr.String(), "started") })
	operation := operationOf(t, stderr.after(0))

	home, elsewhere := t.TempDir(), t.TempDir()
	tokenFile := filepath.Join(v.site.store, "admin_token")
	socket := "unix:" + filepath.Join(v.site.store, "admin", "admin.sock")
	run := func(env []string, args ...string) result {
		t.Helper()
		cmd := exec.Command(v.site.program, args...)
		cmd.Dir = elsewhere
		cmd.Env = append(append(os.Environ(), "XDG_CONFIG_HOME="+home, "HOME="+home, "GORACE=atexit_sleep_ms=0"), env...)
		return runTo(t, cmd)
	}
	token := v.site.token()
	check := func(what, want string, status int, got result) {
		t.Helper()
		if got.status != status || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("%s: status %d; expected %d and %q in:\n%s%s", what, got.status, status, want, got.stdout, got.stderr)
		}
		if strings.Contains(got.stdout+got.stderr, token) {
			t.Errorf("%s shows the token", what)
		}
	}
	list := func(env []string, args ...string) result {
		return run(env, append([]string{"sessions", "list"}, args...)...)
	}
	check("nothing", "ttydrain login", 1, list(nil))
	check("an address and a file", "Ada Lovelace", 0, list(nil, "--admin", v.admin, "--token-file", tokenFile))
	check("an address and the environment", "Ada Lovelace", 0, list([]string{"TTYDRAIN_TOKEN=" + token}, "--admin", socket))
	check("a wrong token", "this needs the admin token", 1, list([]string{"TTYDRAIN_TOKEN=wrong"}, "--admin", socket))
	check("another machine without TLS", "plain HTTP to another machine is refused", 1, list([]string{"TTYDRAIN_TOKEN=x"}, "--admin", "192.0.2.1:80"))

	check("a wrong login", "this needs the admin token", 1, run([]string{"TTYDRAIN_TOKEN=wrong"}, "login", socket))
	check("a login", "logged in to "+socket, 0, run(nil, "login", socket, "--name", "here", "--token-file", tokenFile))
	check("contexts", "*        here", 0, run(nil, "contexts"))
	check("the current context", "Ada Lovelace", 0, list(nil))
	check("a named context", "Ada Lovelace", 0, list(nil, "--context", "here", "--output", "json"))
	check("an unknown context", `no saved context "there"`, 1, list(nil, "--context", "there"))
	check("an address with its token", "Ada Lovelace", 0, list(nil, "--admin", socket))
	check("logout", "", 0, run(nil, "logout"))
	check("after it", "ttydrain login", 1, list(nil))

	for _, broken := range []string{"drains: [\n", "drains: 7\nno_such_setting: 1\n"} {
		if err := os.WriteFile(v.site.config, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		check("a configuration with mistakes", "using unix:", 0, list(nil, "-c", v.site.config))
	}
	check("a kill", ": ended", 0, run(nil, "sessions", "kill", operation, "--reason", "the test is over", "--yes", "-c", v.site.config))
	if err := session.Wait(); err == nil {
		t.Error("the killed session ended without an error")
	}
}
