package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
)

// inContainers makes the app web one of the docker runtime. settings are added to the app's.
func (s *site) inContainers(d *dockertest.Daemon, settings string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := strings.Replace(string(text), "    id: app-7\n", "    id: app-7\n    runtime: docker\n    "+settings+"\n", 1)
	s.write(s.config, changed+"docker: {host: '"+d.Host+"'}\n")
}

// sessionContainers returns the IDs of the containers of sessions.
func sessionContainers(t *testing.T, d *dockertest.Daemon) []string {
	t.Helper()
	list, err := d.Client.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", "ttydrain.app=web")})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

// TestDocker runs sessions in containers that are configured like the app, with OpenSSH's client on
// another host. The user can be named by a token, too, with the keys of its issuer in a file.
func TestDocker(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	d := dockertest.StartOwn(t)
	app, err := d.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: "the-app",
		Config: &container.Config{Image: dockertest.Image, Entrypoint: []string{"/bin/bash", "-c", "touch /of-the-app; sleep 7654321"}, Env: []string{"OF_THE_APP=yes"}, WorkingDir: "/srv"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client.ContainerStart(t.Context(), app.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	drain := httpsDrain(t, "https", ", format: ndjson")
	place, issuer := newRemotePlace(t, 210), newTokenIssuer(t)
	site := newSite(t, withDrains(drain.entry), withListen(place.here+":0"), withGateway(`, keepalive_interval: 2s, keepalive_count: 4, accept_env: ["*"]`),
		withSettings("access_token: {issuer: https://id.example.com, audience: ssh, algorithms: [EdDSA], jwks_file: ./issuer.json}"))
	site.write(filepath.Join(site.dir, "issuer.json"), string(issuer.keys()))
	site.inContainers(d, "from_container: the-app")
	site.edit("apps: [web]}", "apps: [web, api]}")
	site.edit("{name: api, stack: default, command: [/bin/bash]}", "{name: api, stack: default, runtime: docker, image: '"+dockertest.Image+"'}")
	web := "web@" + place.here
	if got := ttydrain(t, "check", "-c", site.config, "--connect"); got.status != 0 || !strings.Contains(got.stdout, `app web: the container "the-app" exists`) {
		t.Errorf("check: %+v", got)
	}
	v := site.serve()

	// A shell.
	shell := inTerminal(t, v.openssh(site.key, web))
	shell.expect(prompt)
	shell.do("ps -e -o args=; ls /of-the-app; pwd; echo \"$OF_THE_APP and ${APTIBLE_USER_DOCUMENT:+documented}\"")
	shell.press("read -r -s -p 'Pass''word: ' S; echo; echo \"${#S} read\"\r")
	shell.expect("Password: ")
	shell.press("correct horse\r")
	shell.expect("13 read")
	shell.expect(prompt)
	shell.resize(132, 43)
	shell.press(`until [ "$(stty size)" = "43 132" ]; do :; done; echo "the size is $(stty size)"` + "\r")
	shell.expect("the size is 43 132")
	shell.expect(prompt)
	shell.press("exit 7\r")
	shown, status := shell.wait()
	if status != 7 {
		t.Errorf("exit status %d", status)
	}
	if text := string(shown); strings.Contains(text, "7654321") || !strings.Contains(text, "cannot access") || !strings.Contains(text, "\n/srv\r") || !strings.Contains(text, "yes and documented") {
		t.Errorf("shown: %q", text)
	}
	s := drain.transcript(t, operationOf(t, shown))
	mustBe(t, drain.name, "the session", s.shown, shown)
	if s.end.Reason != "exit" || s.end.ExitStatus == nil || *s.end.ExitStatus != 7 {
		t.Errorf("the end: %+v", s.end)
	}

	// Commands.
	for _, test := range []struct {
		command, stdin string
		status         int
	}{
		{`read line; yes 0123456789abcdef | head -c 300000; echo "it was $line"; head -c 100000 /dev/urandom >&2; exit 42`, "from the client\n", 42},
		{"cat; echo done >&2", strings.Repeat("0123456789\x00\xff\r\n", 500), 0},
		{"kill -TERM $$", "", 143},
		{"head -c 1025M /dev/zero | tail | wc -c; exit ${PIPESTATUS[1]}", "", 137}, // more than its memory: the kernel ends it
	} {
		cmd := v.openssh(site.key, web, test.command)
		cmd.Stdin = strings.NewReader(test.stdin)
		got := runTo(t, cmd)
		if got.status != test.status {
			t.Errorf("%s: exit status %d, want %d: %.500q", test.command, got.status, test.status, got.stderr)
		}
		s := drain.transcript(t, operationOf(t, []byte(got.stderr)))
		mustBe(t, drain.name, test.command+": standard output", s.stdout, []byte(got.stdout))
		mustBe(t, drain.name, test.command+": standard error", s.stderr, []byte(got.stderr))
	}
	if left := sessionContainers(t, d); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	if got := runTo(t, v.openssh(site.key, "api@"+place.here, `echo "$0 of the $FROM_IMAGE, $OF_THE_APP"`)); got.status != 0 || got.stdout != "/bin/bash of the image, \n" {
		t.Errorf("of an image: %+v", got)
	}

	// A token names the user, and goes no further; the container of its session has the right
	// configuration, and nothing more.
	with := func(token string, args ...string) *exec.Cmd {
		cmd := v.openssh(site.key, append([]string{"-o", "SendEnv=ACCESS_TOKEN"}, args...)...)
		cmd.Env = append(cmd.Env, "ACCESS_TOKEN="+token)
		return cmd
	}
	first := issuer.token(nil)
	shell = inTerminal(t, with(first, web))
	shell.expect(prompt)
	shell.do("env")
	ids := sessionContainers(t, d)
	if len(ids) != 1 {
		t.Fatalf("%d containers", len(ids))
	}
	answer, err := d.Client.ContainerInspect(t.Context(), ids[0], client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := answer.Container.HostConfig; h.Memory != 1<<30 || h.RestartPolicy.Name != container.RestartPolicyDisabled || !answer.Container.Config.Tty {
		t.Errorf("the container has %d bytes of memory, the restart policy %q, a terminal %t", h.Memory, h.RestartPolicy.Name, answer.Container.Config.Tty)
	}
	whole, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	shell.press("exit\r")
	shown, _ = shell.wait()
	if who := drain.transcript(t, operationOf(t, shown)).records[0].OperationUserName; who != "Augusta Ada King" || !bytes.Contains(shown, []byte("APTIBLE_LAYER=app")) {
		t.Errorf("the session is that of %s: %q", who, shown)
	}
	issuer.rotate()
	v.reload(reloadOK, func() { site.swap(filepath.Join(site.dir, "issuer.json"), string(issuer.keys())) })
	if got := runTo(t, with(issuer.token(nil), web, "exit 7")); got.status != 7 {
		t.Errorf("after the issuer's keys have changed: %+v", got)
	}
	if got := runTo(t, with(first, web, "true")); got.status != 255 || !strings.Contains(got.stderr, "does not publish") {
		t.Errorf("with a token of a key that is gone: %+v", got)
	}
	for _, place := range append(storedFiles(t, site), haystack{"the container", whole}, haystack{"what was shown", shown}, haystack{"serve's log", []byte(v.log.String())}) {
		issuer.mustNotBeIn(place)
	}

	// A client that goes away takes its session with it, and so does one whose network vanishes
	// without a notice.
	for _, away := range []struct {
		how    string
		client func(*exec.Cmd) *exec.Cmd
		do     func(*terminal)
	}{
		{"killed", func(cmd *exec.Cmd) *exec.Cmd { return cmd }, func(s *terminal) { s.cmd.Process.Kill() }},
		{"cut off", place.inside, func(*terminal) { place.cut() }},
	} {
		gone := inTerminal(t, away.client(v.openssh(site.key, web)))
		gone.expect(prompt)
		gone.press("setsid sleep 1000 & trap '' HUP\r")
		if n := len(sessionContainers(t, d)); n != 1 {
			t.Errorf("%s: %d containers", away.how, n)
		}
		away.do(gone)
		await(t, "for the container to be removed, whose client was "+away.how, func() bool { return len(sessionContainers(t, d)) == 0 })
	}
	await(t, "for the log to tell of the silence", func() bool { return len(v.logged("connection cut", "silence")) == 1 })

	// A gateway that is killed leaves a container, which its next start removes.
	orphaned := inTerminal(t, v.openssh(site.key, web))
	orphaned.expect(prompt)
	v.signal(syscall.SIGKILL)
	v.status()
	if n := len(sessionContainers(t, d)); n != 1 {
		t.Errorf("%d containers", n)
	}
	v = site.serve()
	if left := sessionContainers(t, d); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// A daemon that dies ends its sessions, with the reason.
	lost := inTerminal(t, v.openssh(site.key, web))
	lost.expect(prompt)
	d.Kill(t)
	shown, status = lost.wait()
	if status != 255 || !bytes.Contains(shown, []byte("was lost")) {
		t.Errorf("exit status %d, shown %q", status, shown)
	}
	if s := drain.transcript(t, operationOf(t, shown)); s.end.Reason != "container lost" {
		t.Errorf("the end: %+v", s.end)
	}
	if got := runTo(t, v.openssh(site.key, web, "true")); got.status != 255 || !strings.Contains(got.stderr, "try again in a minute") {
		t.Errorf("%+v", got)
	}
	if got := ttydrain(t, "check", "-c", site.config, "--connect"); got.status != 1 || !strings.Contains(got.stdout, "docker: FAILED") || !strings.Contains(got.stdout, "start the Docker daemon") {
		t.Errorf("check: %+v", got)
	}
	d.Run(t)
	await(t, "for what the daemon left to be removed", func() bool { return len(sessionContainers(t, d)) == 0 })
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
