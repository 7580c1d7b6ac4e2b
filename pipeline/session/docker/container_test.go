package docker_test

import (
	"context"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// startApp starts an app's container: a sleep with a volume, its own files, and aliases on two
// networks.
func startApp(t *testing.T, d *dockertest.Daemon) (id string, app container.InspectResponse) {
	t.Helper()
	for _, name := range []string{"app-net", "app-net-2"} {
		n, err := d.Client.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{Driver: "bridge"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Client.NetworkRemove(context.Background(), n.ID, client.NetworkRemoveOptions{}) })
	}
	created, err := d.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: "the-app",
		Config: &container.Config{
			Image: dockertest.Image, Entrypoint: []string{"/bin/bash", "-c"}, Cmd: []string{"echo x >/of-the-app; echo x >/volume/of-the-app; sleep 7654321"},
			Env: []string{"APP=of the app", "SHARED=app", "FROM_IMAGE=changed"}, User: "root", WorkingDir: "/srv",
			Labels: map[string]string{"team": "web", "ttydrain.gateway": "somebody's"},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "app-net", CapAdd: []string{"SYS_ADMIN"}, CapDrop: []string{"MKNOD"}, ExtraHosts: []string{"db:192.0.2.7"}, DNSSearch: []string{"example.com"},
			Mounts:        []mount.Mount{{Type: mount.TypeVolume, Target: "/volume"}},
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}, GroupAdd: []string{"1000"},
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"app-net": {Aliases: []string{"web"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Client.ContainerRemove(context.Background(), created.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	})
	if _, err := d.Client.NetworkConnect(t.Context(), "app-net-2", client.NetworkConnectOptions{Container: created.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := d.Client.ContainerInspect(t.Context(), created.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created.ID, answer.Container
}

// TestConfiguredLikeTheApp compares both containers as the daemon describes them.
func TestConfiguredLikeTheApp(t *testing.T) {
	d := dockertest.Start(t)
	_, app := startApp(t, d)
	r := newRuntime(t, d.Host, "twin")
	spec := terminal(session.Container{From: "the-app"}, "echo ready; read x")
	spec.Pids = 300
	spec.Env = []string{"SHARED=session", "APTIBLE_USER_DOCUMENT=a.b.c"}
	p := start(t, r, spec)
	sessiontest.ReadUntil(t, p.Stdout(), "ready")
	got := inspect(t, d, "twin")
	p.Kill()
	sessiontest.Collect(p)

	env := func(c container.InspectResponse) map[string]string {
		m := make(map[string]string)
		for _, entry := range c.Config.Env {
			name, value, _ := strings.Cut(entry, "=")
			m[name] = value
		}
		return m
	}
	wantEnv := env(app)
	wantEnv["SHARED"], wantEnv["APTIBLE_USER_DOCUMENT"], wantEnv["TERM"] = "session", "a.b.c", "xterm"
	wantLabels := maps.Clone(app.Config.Labels)
	maps.Copy(wantLabels, map[string]string{"ttydrain.gateway": "twin", "ttydrain.run": got.Config.Labels["ttydrain.run"], "ttydrain.operation": "17", "ttydrain.app": "web"})
	networks := func(c container.InspectResponse) []string {
		return slices.Sorted(maps.Keys(c.NetworkSettings.Networks))
	}
	limit := int64(300)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"image", got.Image, app.Image},
		{"environment", env(got), wantEnv},
		{"user", got.Config.User, "root"},
		{"working folder", got.Config.WorkingDir, "/srv"},
		{"labels", got.Config.Labels, wantLabels},
		{"networks", networks(got), []string{"app-net", "app-net-2"}},
		{"networks of the app", networks(app), []string{"app-net", "app-net-2"}},
		{"hosts", got.HostConfig.ExtraHosts, app.HostConfig.ExtraHosts},
		{"search", got.HostConfig.DNSSearch, app.HostConfig.DNSSearch},
		{"groups", got.HostConfig.GroupAdd, app.HostConfig.GroupAdd},
		{"dropped capabilities", got.HostConfig.CapDrop, app.HostConfig.CapDrop},
		{"added capabilities", len(got.HostConfig.CapAdd), 0},
		{"volumes of the app", len(got.HostConfig.Mounts) + len(got.HostConfig.Binds), 0},
		{"restart policy", got.HostConfig.RestartPolicy.Name, container.RestartPolicyDisabled},
		{"memory", got.HostConfig.Memory, int64(1 << 30)},
		{"memory and swap", got.HostConfig.MemorySwap == 1<<30 || got.HostConfig.MemorySwap == -1, true}, // the latter if the kernel does not account for it
		{"processes", got.HostConfig.PidsLimit, &limit},
		{"log", got.HostConfig.LogConfig.Type, "none"},
		{"privileges", slices.Contains(got.HostConfig.SecurityOpt, "no-new-privileges"), true},
		{"automatic removal", got.HostConfig.AutoRemove, false},
		{"host name", got.Config.Hostname, "s-1"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	for name, e := range got.NetworkSettings.Networks {
		if slices.Contains(e.Aliases, "web") || slices.Contains(e.Aliases, "the-app") {
			t.Errorf("the session answers to the app's name on %s: %v", name, e.Aliases)
		}
	}
	if !isGone(t, d, got.ID) {
		t.Error("the container is still there")
	}
	for _, m := range got.Mounts { // declared by the image
		if _, err := d.Client.VolumeInspect(t.Context(), m.Name, client.VolumeInspectOptions{}); err == nil {
			t.Errorf("the volume at %s is still there", m.Destination)
		}
	}
}

func TestHasNothingOfTheApp(t *testing.T) {
	d := dockertest.Start(t)
	id, _ := startApp(t, d)
	r := newRuntime(t, d.Host, "nothing")
	c := session.Container{From: id}
	got := run(t, r, line(c, "ps -e -o args="))
	lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	if len(lines) != 2 && len(lines) != 3 || !strings.Contains(lines[0], "init") || !strings.Contains(lines[len(lines)-1], "ps -e") || strings.Contains(got.Stdout, "7654321") {
		t.Errorf("the session sees %q", lines)
	}
	expect(t, r, line(c, "ls /of-the-app /volume 2>/dev/null; pwd; id -un; id -G"), "/srv\nroot\n0 1000\n")
	expect(t, r, line(c, `echo "$APP|$SHARED|$FROM_IMAGE"`), "of the app|app|changed\n")
	// Sessions share nothing with each other either.
	expect(t, r, line(c, "echo x >/left-behind"), "")
	expect(t, r, line(c, "ls /left-behind 2>/dev/null; true"), "")
}

func TestOfAnImage(t *testing.T) {
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "image")
	expect(t, r, line(session.Container{Image: dockertest.Image}, `echo "$FROM_IMAGE"; id -un; grep NoNewPrivs /proc/self/status`), "image\nroot\nNoNewPrivs:\t1\n")
	expect(t, r, line(session.Container{Image: dockertest.Image, User: "app"}, `id -un; echo $HOME; touch data/x && ls data`+"; pwd"),
		"app\n/srv/app\n/\n")
}

func TestRefusedPlainly(t *testing.T) {
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "refusals")
	for _, test := range []struct {
		c    session.Container
		says []string
	}{
		{session.Container{From: "no-such-container"}, []string{`"no-such-container"`, "start the app"}},
		{session.Container{Image: "no-such-image:7"}, []string{`"no-such-image:7"`, "pull"}},
		{session.Container{Image: dockertest.Image, User: "nobody-of-this-name"}, []string{`"nobody-of-this-name"`}},
		{session.Container{Image: "127.0.0.1:1/no-such-registry/x:7", Pull: true}, []string{"could not be pulled"}},
	} {
		_, err := r.Start(t.Context(), line(test.c, "true"))
		sessiontest.ExpectRefusal(t, err, test.says...)
	}
	if left := containers(t, d, "refusals"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPids(t *testing.T) {
	t.Parallel()
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "pids")
	spec := line(session.Container{Image: dockertest.Image}, "for i in {1..40}; do sleep 100 & done")
	spec.Pids = 20
	got := run(t, r, spec)
	if got.Exit.Status == 0 || !strings.Contains(got.Stderr, "fork") {
		t.Errorf("%+v", got)
	}
}

// TestNotRestarted: a session that crashes has ended.
func TestNotRestarted(t *testing.T) {
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "crash")
	p := start(t, r, terminal(session.Container{Image: dockertest.Image}, "echo started; read x; kill -SEGV $$"))
	sessiontest.ReadUntil(t, p.Stdout(), "started")
	id := inspect(t, d, "crash").ID
	if _, err := io.WriteString(p.Stdin(), "\n"); err != nil {
		t.Error(err)
	}
	if got := sessiontest.Collect(p); got.Exit.Status != 139 || got.Err != nil || strings.Contains(got.Stdout, "started") {
		t.Errorf("%+v", got)
	}
	if !isGone(t, d, id) {
		t.Error("the container is still there")
	}
}

// TestNetworksOfOtherKinds: the app uses the host's network, none, or that of another container.
func TestNetworksOfOtherKinds(t *testing.T) {
	d := dockertest.Start(t)
	r := newRuntime(t, d.Host, "networks")
	last := ""
	for _, mode := range []container.NetworkMode{"none", "host", "container:"} {
		if mode == "container:" {
			mode += container.NetworkMode(last)
		}
		created, err := d.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Config: &container.Config{Image: dockertest.Image, Entrypoint: []string{"sleep", "1000"}}, HostConfig: &container.HostConfig{NetworkMode: mode}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			d.Client.ContainerRemove(context.Background(), created.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		})
		if _, err := d.Client.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
			t.Fatal(err)
		}
		p := start(t, r, terminal(session.Container{From: created.ID}, "echo ready; read x"))
		sessiontest.ReadUntil(t, p.Stdout(), "ready")
		if got := inspect(t, d, "networks").HostConfig.NetworkMode; got != mode {
			t.Errorf("the app's network is %s, the session's %s", mode, got)
		}
		p.Kill()
		sessiontest.Collect(p)
		last = created.ID
	}
}
