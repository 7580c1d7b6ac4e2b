package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// TestSecretsInURLs has drains with secrets in their URLs: as user and password, in the path and in
// the query, from the environment and from a file. Nothing that ttydrain prints or answers has any
// of them.
func TestSecretsInURLs(t *testing.T) {
	t.Parallel()
	const canary = "canary7f3a"
	dead := porttest.Reserve(t)
	site := newSite(t, withDrains(
		fmt.Sprintf(`{name: user, type: https, url: "https://user:%s1@%s/%s2?token=%s3"}`, canary, dead, canary, canary),
		`{name: file, type: https, url: "file:url"}`,
		fmt.Sprintf(`{name: basic, type: https, url: "https://%s/", username: ada, password: %s5}`, dead, canary),
		fmt.Sprintf(`{name: search, type: elasticsearch, urls: ["http://%s/%s6"]}`, dead, canary),
		fmt.Sprintf(`{name: proxied, type: https, url: "https://name.invalid/", proxy: {url: "http://user:%s8@%s"}}`, canary, dead),
		fmt.Sprintf(`{name: lookup, type: https, url: "https://name.invalid/%s7"}`, canary),
	))
	site.write(site.dir+"/url", fmt.Sprintf("https://%s/%s4\n", dead, canary))
	clean := func(where, text string) {
		t.Helper()
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("%s has %q", where, text[max(0, i-80):min(len(text), i+40)])
		}
	}
	checked := runTo(t, exec.Command(site.program, "check", "-c", site.config, "--connect"))
	if checked.status != 1 || !strings.Contains(checked.stdout, dead) {
		t.Errorf("check: %+v", checked)
	}
	clean("check --connect", checked.stdout+checked.stderr)

	v := site.serve()
	runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "echo hello"))
	for _, drain := range []string{"user", "file", "basic", "search", "proxied", "lookup"} {
		v.awaitFailure(drain)
		got := runTo(t, exec.Command(site.program, "drains", "test", drain, "-c", site.config, "--admin", v.admin, "--output", "json"))
		clean("drains test "+drain, got.stdout+got.stderr)
	}
	clean("drains list in JSON", string(v.operate("drains", "list")))
	table := runTo(t, exec.Command(site.program, "drains", "list", "-c", site.config, "--admin", v.admin))
	clean("drains list", table.stdout+table.stderr)
	_, metrics := v.get("/metrics")
	clean("/metrics", string(metrics))

	// A mistake in a URL is reported without the URL.
	broken := strings.Replace(site.text(), "name.invalid/", "name.invalid:x/%zz", 1)
	v.reload(reloadRefused, func() { site.swap(site.config, broken) })
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	clean("the log", v.log.String())
}

// awaitFailure waits until a drain has an error.
func (v *server) awaitFailure(drain string) {
	v.site.t.Helper()
	await(v.site.t, "for an error of the drain "+drain, func() bool { return v.drainStatus(drain).LastError != "" })
}
