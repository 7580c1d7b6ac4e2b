package main

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
)

// inContainers makes the app web one of the docker runtime. settings are the app's further ones.
func (s *site) inContainers(d *dockertest.Daemon, settings string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := strings.Replace(string(text), "    id: app-7\n", "    id: app-7\n    runtime: docker\n    "+settings+"\n", 1)
	s.write(s.config, changed+"docker: {host: '"+d.Host+"'}\n")
}

// sessionContainers are the IDs of the containers of sessions.
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

// TestDocker is a person's sessions in containers that are configured like the app's, with OpenSSH's client.
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
	site := newSite(t, withDrains(drain.entry))
	site.inContainers(d, "from_container: the-app")
	if got := ttydrain(t, "check", "-c", site.config, "--connect"); got.status != 0 || !strings.Contains(got.stdout, `app web: the container "the-app" is there`) {
		t.Errorf("check: %+v", got)
	}
	v := site.serve()

	// A shell.
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
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
		{`read line; yes 0123456789abcdef | head -c 3000000; echo "it was $line"; head -c 100000 /dev/urandom >&2; exit 42`, "from the client\n", 42},
		{"cat; echo done >&2", strings.Repeat("0123456789\x00\xff\r\n", 500), 0},
		{"kill -TERM $$", "", 143},
	} {
		cmd := v.openssh(site.key, "web@127.0.0.1", test.command)
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

	// A client that goes away takes its session with it.
	gone := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	gone.expect(prompt)
	gone.press("setsid sleep 1000 & trap '' HUP\r")
	if n := len(sessionContainers(t, d)); n != 1 {
		t.Errorf("%d containers", n)
	}
	gone.cmd.Process.Kill()
	await(t, "for the container to be removed", func() bool { return len(sessionContainers(t, d)) == 0 })

	// A gateway that is killed leaves a container, which its next start removes.
	orphaned := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
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

	// A daemon that dies ends its sessions, which say why.
	lost := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	lost.expect(prompt)
	d.Kill(t)
	shown, status = lost.wait()
	if status != 255 || !bytes.Contains(shown, []byte("was lost")) {
		t.Errorf("exit status %d, shown %q", status, shown)
	}
	if s := drain.transcript(t, operationOf(t, shown)); s.end.Reason != "container lost" {
		t.Errorf("the end: %+v", s.end)
	}
	if got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "true")); got.status != 255 || !strings.Contains(got.stderr, "try again in a minute") {
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
