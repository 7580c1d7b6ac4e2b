package e2e

import (
	"strings"
	"testing"
)

// TestBannerSetting: by default, a command without a terminal has nothing but its own output,
// whatever the client's LogLevel is; a reload changes which sessions begin with the banner.
func TestBannerSetting(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	site := newSite(t)
	site.edit("banner: always, ", "")
	v := site.serve()
	shown := func(args ...string) result {
		t.Helper()
		return runTo(t, v.openssh(site.key, append(args, "web@127.0.0.1", "echo out; echo err >&2")...))
	}
	const first = "ttydrain: operation "
	for _, options := range [][]string{{"-v"}, {"-o", "LogLevel=INFO"}, {"-q"}} {
		got := shown(options...)
		if got.stdout != "out\n" || strings.Contains(got.stderr, first) || !strings.HasSuffix(got.stderr, "err\n") && options[0] != "-v" {
			t.Errorf("by default, %q: %+v", options, got)
		}
	}
	if got := shown("-q"); got.stderr != "err\n" {
		t.Errorf("by default, -q: %+v", got)
	}
	if got := shown("-tt"); !strings.HasPrefix(got.stdout, first) {
		t.Errorf("by default, on a terminal: %+v", got)
	}
	v.reload(reloadOK, func() { site.edit("host_key: ./host_key,", "host_key: ./host_key, banner: none,") })
	if got := shown("-tt"); got.stdout != "out\r\nerr\r\n" {
		t.Errorf("none, on a terminal: %+v", got)
	}
	v.reload(reloadOK, func() { site.edit("banner: none", "banner: always") })
	if got := shown("-q"); !strings.HasPrefix(got.stderr, first) || !strings.HasSuffix(got.stderr, "\nerr\n") || got.stdout != "out\n" {
		t.Errorf("always: %+v", got)
	}
}
