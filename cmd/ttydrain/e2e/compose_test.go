package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// A composition is docker-compose.yml, on a Docker daemon of its own.
type composition struct {
	t      *testing.T
	daemon *dockertest.Daemon
	site   *site // for its folder and Ada's key
	env    []string
}

// toolchain is the image instead of the one with Go: the host has built the binaries.
const toolchain = "ttydrain-toolchain:test"

// newComposition makes the images that cannot be pulled here from the files of this host.
func newComposition(t *testing.T) *composition {
	t.Helper()
	for _, name := range []string{"docker-compose", "ssh", "nsenter", "rsyslogd", "grep"} {
		need(t, name)
	}
	d := dockertest.StartOwn(t)
	d.Import(t, toolchain, func(f *dockertest.Files) {
		f.File(t, "bin/go", 0o755, []byte("#!/bin/sh\n[ $1 != build ] || { mkdir /out && cp /built/* /out/; }\n"))
		f.Copy(t, "built/ttydrain", composeProgram(t, "ttydrain"))
		f.Copy(t, "built/nats-server", composeProgram(t, "nats-server"))
		f.Copy(t, "etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
	})
	d.Import(t, "debian:12-slim", nil)
	d.Import(t, "ttydrain-rsyslog", func(f *dockertest.Files) {
		f.Program(t, "rsyslogd")
		modules, _ := filepath.Glob("/usr/lib*/*/rsyslog/*.so") // the pattern is valid
		for _, module := range modules {
			f.Binary(t, strings.TrimPrefix(module, "/"), module)
		}
		f.Copy(t, "etc/rsyslog.conf", "../compose/rsyslog/rsyslog.conf")
		f.File(t, "var/log/ttydrain/.keep", 0o600, nil)
		f.File(t, "var/spool/rsyslog/.keep", 0o600, nil)
	}, instructions(t, "../compose/rsyslog/Dockerfile", "VOLUME", "HEALTHCHECK", "CMD")...)

	c := &composition{t: t, daemon: d, site: &site{t: t, dir: t.TempDir()}}
	c.site.key = c.site.newKey("ada")
	// As in the page compose: the configuration of the repository, with the key of a user next to it.
	config := filepath.Join(c.site.dir, "config")
	if err := os.CopyFS(config, os.DirFS("../compose")); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(c.site.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	c.site.write(filepath.Join(config, "ada.pub"), string(public))
	for _, open := range []string{c.site.dir, filepath.Join(config, "ada.pub")} {
		if err := os.Chmod(open, 0o755); err != nil { // its readers are not root
			t.Fatal(err)
		}
	}
	socket := strings.TrimPrefix(d.Host, "unix://")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	c.env = append(os.Environ(), "DOCKER_HOST="+d.Host, "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0", "COMPOSE_PROJECT_NAME=ttydrain", "COMPOSE_HTTP_TIMEOUT=180",
		"TTYDRAIN_CONFIG="+config, "TTYDRAIN_KEYS="+filepath.Join(c.site.dir, "keys"), "DOCKER_SOCKET="+socket,
		"DOCKER_GID="+strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid)), "SSH_ADDRESS=127.0.7."+strconv.Itoa(1+os.Getpid()%250))
	t.Cleanup(func() {
		if t.Failed() {
			cmd := exec.Command("docker-compose", "-f", "../../../docker-compose.yml", "logs", "--no-color", "--tail", "20")
			cmd.Env = c.env
			out, err := cmd.CombinedOutput()
			t.Logf("what all have said, %v:\n%s", err, out)
		}
	})
	return c
}

// instructions returns the instructions of a Dockerfile that begin with these words.
func instructions(t *testing.T, file string, words ...string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if word, _, _ := strings.Cut(line, " "); slices.Contains(words, word) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) != len(words) {
		t.Fatalf("%s has, of %q, %q", file, words, found)
	}
	return found
}

// composeProgram returns the path of a static binary. It is linked from packages that are compiled
// for other tests: to compile it as the Dockerfile does, without the C library, takes minutes.
func composeProgram(t *testing.T, name string) string {
	t.Helper()
	programs.static.once.Do(func() {
		programs.static.file = filepath.Join(programs.dir, "static")
		programs.static.err = goBuild("-ldflags=-s -linkmode=external -extldflags=-static", "-o", programs.static.file+"/",
			command, "github.com/nats-io/nats-server/v2")
	})
	if programs.static.err != nil {
		t.Fatal(programs.static.err)
	}
	return filepath.Join(programs.static.file, name)
}

// do runs docker-compose, which must succeed.
func (c *composition) do(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("docker-compose", append([]string{"-f", "../../../docker-compose.yml"}, args...)...)
	cmd.Env = c.env
	got := runTo(c.t, cmd)
	if got.status != 0 {
		c.t.Fatalf("docker-compose %q: %d\n%s%s", args, got.status, got.stdout, got.stderr)
	}
	return got.stdout
}

// containers returns the containers of a service, in the order of their numbers.
func (c *composition) containers(service string) (all []container.InspectResponse) {
	c.t.Helper()
	for _, id := range strings.Fields(c.do("ps", "-q", service)) {
		got, err := c.daemon.Client.ContainerInspect(c.t.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, got.Container)
	}
	slices.SortFunc(all, func(a, b container.InspectResponse) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// healthy waits until each container is healthy, and returns their state.
func (c *composition) healthy(service string, wants int) (all []container.InspectResponse) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("for %d healthy containers of %s", wants, service), func() bool {
		all = c.containers(service)
		return len(all) == wants && !slices.ContainsFunc(all, func(i container.InspectResponse) bool {
			return !i.State.Running || i.State.Health == nil || i.State.Health.Status != container.Healthy
		})
	})
	return all
}

// ssh returns OpenSSH's client in the network of a gateway, where the gateway's port is not
// published to another address.
func (c *composition) ssh(gateway string, args ...string) *exec.Cmd {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.site.dir, "keys", "host_key"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.site.write(filepath.Join(c.site.dir, "host_key"), string(data))
	v := &server{site: c.site, ssh: "127.0.0.1:2222"}
	c.site.write(v.knownHosts(), c.site.knownHost(v.ssh))
	cmd := v.openssh(c.site.key, append([]string{"web@127.0.0.1"}, args...)...)
	inside := exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(c.healthy(gateway, 1)[0].State.Pid) + "/ns/net"}, cmd.Args...)...)
	inside.Env = cmd.Env
	return inside
}

// transcript returns a session from rsyslog's file, once its end is there.
func (c *composition) transcript(operation string) *transcript {
	c.t.Helper()
	volume, err := c.daemon.Client.VolumeInspect(c.t.Context(), "ttydrain_rsyslog", client.VolumeInspectOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	var records []record
	await(c.t, "for the end of operation "+operation+" in rsyslog's file", func() bool {
		data, err := os.ReadFile(filepath.Join(volume.Volume.Mountpoint, "sessions.log"))
		if err != nil && !os.IsNotExist(err) {
			c.t.Fatal(err)
		}
		records = records[:0]
		var parts messageParts
		for line := range bytes.Lines(data) {
			raw, whole := bytes.CutSuffix(line, []byte("\n"))
			if !whole {
				break // rsyslog is writing it
			}
			p, err := syslogtest.Parse(raw)
			if err != nil {
				c.t.Fatalf("%v: %q", err, raw)
			}
			m := syslogtest.Message{Raw: string(raw), App: p.App, ProcID: p.ProcID, MsgID: p.MsgID, Text: p.Text}
			if r, whole := parseMessage(c.t, "audit", "", &parts, m); whole {
				records = append(records, r)
			}
		}
		return hasEnd(records, operation)
	})
	return transcriptOf(c.t, "audit", records, operation, true)
}

// command runs a command in a session, and finds its exact output in rsyslog's file. While NATS
// elects new leaders no session starts, and the client tries again.
func (c *composition) command(gateway, command string) string {
	c.t.Helper()
	var got result
	await(c.t, "for a session on "+gateway, func() bool {
		got = runTo(c.t, c.ssh(gateway, command))
		return !strings.Contains(got.stderr, "so it was not started: try again")
	})
	if got.status != 0 {
		c.t.Fatalf("%s: %s: exit status %d: %s", gateway, command, got.status, got.stderr)
	}
	s := c.transcript(operationOf(c.t, []byte(got.stderr)))
	mustBe(c.t, "audit", command, s.stdout, []byte(got.stdout))
	return got.stdout
}

// crash kills the process of a container, as the kernel does. Docker starts it again.
func (c *composition) crash(container container.InspectResponse) {
	c.t.Helper()
	if err := syscall.Kill(container.State.Pid, syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
}

// TestCompose runs docker-compose.yml as it is, without Elasticsearch and Kibana: images, keys, and
// sessions that arrive, before one container of each role is killed, meanwhile and after it.
func TestCompose(t *testing.T) {
	t.Parallel()
	c := newComposition(t)
	c.do("build", "--build-arg", "TOOLCHAIN="+toolchain, "streams", "nats-1")
	for _, name := range []string{"ttydrain", "ttydrain-nats"} {
		image, err := c.daemon.Client.ImageInspect(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if i := image.Config; i.User != "65532:65532" || i.Labels["org.opencontainers.image.title"] != "ttydrain" || i.Healthcheck == nil || i.Healthcheck.Test[1] != "ttydrain" {
			t.Errorf("image %s: %+v", name, i)
		}
	}

	// The keys are made once.
	if said := c.do("run", "--rm", "keys"); strings.Count(said, "made ") != 17 {
		t.Errorf("keys: %s", said)
	}
	if said := c.do("run", "--rm", "keys"); said != "" {
		t.Errorf("keys again: %s", said)
	}
	files, err := os.ReadDir(filepath.Join(c.site.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		public := strings.HasSuffix(f.Name(), ".pem") && f.Name() != "document_key.pem" && f.Name() != "gap_key.pem" || f.Name() == "users.conf"
		if owner := info.Sys().(*syscall.Stat_t).Uid; (owner == 0) != (f.Name() == "ca.key") || (info.Mode().Perm()&0o077 == 0) == public {
			t.Errorf("%s is %d's, with mode %v", f.Name(), owner, info.Mode())
		}
	}

	c.do("up", "-d", "--no-build", "gateway-1", "gateway-2", "enrich", "router", "web", "rsyslog")
	c.healthy("rsyslog", 1)
	parts := make(map[string][]container.InspectResponse)
	for service, secrets := range map[string][]string{
		"nats-1":    {"ca.pem", "server.key", "server.pem", "users.conf"},
		"gateway-1": {"admin_token", "ca.pem", "document_key.pem", "host_key", "role.key", "role.nk", "role.pem"},
		"gateway-2": {"admin_token", "ca.pem", "document_key.pem", "host_key", "role.key", "role.nk", "role.pem"},
		"enrich":    {"admin_token", "ca.pem", "document_key.pem", "role.key", "role.nk", "role.pem"},
		"router":    {"admin_token", "ca.pem", "gap_key.pem", "role.key", "role.nk", "role.pem"},
	} {
		wants := 1
		if service == "enrich" || service == "router" {
			wants = 2
		}
		parts[service] = c.healthy(service, wants)
		for _, p := range parts[service] {
			if h := p.HostConfig; !h.ReadonlyRootfs || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) > 0 || h.Privileged || !slices.Contains(h.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s: %+v", p.Name, h)
			}
			var sees []string
			for _, m := range p.Mounts {
				if strings.HasPrefix(m.Source, filepath.Join(c.site.dir, "keys")) {
					sees = append(sees, filepath.Base(m.Destination))
				}
			}
			if slices.Sort(sees); !slices.Equal(sees, secrets) {
				t.Errorf("%s sees %q", p.Name, sees)
			}
		}
	}

	if got := c.command("gateway-1", "echo at the first; hostname"); !strings.HasPrefix(got, "at the first\n") || strings.Contains(got, "ttydrain-web") {
		t.Errorf("shown: %q", got)
	}
	// A session is not a container of Compose: it stays when everything is brought up again.
	shell := inTerminal(t, c.ssh("gateway-2"))
	shell.expect("# ")
	c.do("up", "-d", "--no-build", "gateway-1", "gateway-2", "enrich", "router", "web", "rsyslog")
	shell.press("i=0; while [ ! -e /tmp/over ]; do echo \"line $((i++))\"; sleep 0.01; done & \r")
	shell.expect("line 100\r\n")
	for _, service := range []string{"nats-1", "gateway-1", "enrich", "router"} {
		c.crash(parts[service][0])
	}
	// Its output meanwhile arrives, and so does that of other sessions through the remaining gateway.
	c.command("gateway-2", "seq 1000")
	shell.press("touch /tmp/over; wait; exit 7\r")
	shown, status := shell.wait()
	if status != 7 {
		t.Errorf("the session ended with %d: %q", status, shown[max(0, len(shown)-500):])
	}
	mustBe(t, "audit", "the session beside those that died", c.transcript(operationOf(t, shown)).shown, shown)
	for _, service := range []string{"nats-1", "gateway-1", "enrich", "router"} {
		if again := c.healthy(service, len(parts[service]))[0]; again.ID != parts[service][0].ID || again.RestartCount == 0 {
			t.Errorf("%s was started again %d times", again.Name, again.RestartCount)
		}
	}
	c.command("gateway-1", "seq 1000")

	// With the commands of an operator. The search drain has no server, which does not affect the
	// others.
	await(t, "for one drain to deliver, and one to try again", func() bool {
		var drains []struct{ Name, State string }
		if err := json.Unmarshal([]byte(c.do("exec", "-T", "router", "ttydrain", "drains", "list", "-c", "/etc/ttydrain/ttydrain.yaml", "--output", "json")), &drains); err != nil {
			t.Fatal(err)
		}
		states := make(map[string]string)
		for _, d := range drains {
			states[d.Name] = d.State
		}
		return len(states) == 2 && states["audit"] == "delivering" && states["search"] == "retrying"
	})
	// Each part has the permissions on NATS that it needs, and no others.
	if said := c.do("logs", "--no-color", "nats-1", "nats-2", "nats-3"); strings.Contains(said, "Violation") || !strings.Contains(said, "Server is ready") {
		t.Errorf("what NATS said:\n%s", said)
	}
	c.do("down", "-v", "-t", "1")
}
