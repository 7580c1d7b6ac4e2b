package docker_test

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/docker/dockertest"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// tries prints what a process can do, one line each.
const tries = `grep -E '^(Cap(Eff|Bnd)|Seccomp):' /proc/self/status
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: can"; else echo "$name: cannot"; fi; }
write() { echo 1 >"$1"; }
try root write /x
try tmp write /tmp/x
try mkdir mkdir /tmp/folder
try chmod chmod 700 /tmp
try masked grep -q . /proc/uptime
try sysctl write /proc/sys/net/ipv4/ip_forward
echo files $(ulimit -n)
echo groups $(id -G)
echo niced $(cat /proc/self/oom_score_adj)
test -e /dev/shm && echo shm; echo done`

// noFolders is a seccomp profile that denies creating directories.
const noFolders = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}`

// TestNoLessConfinedThanTheApp runs the same command in the app's container and in a session.
func TestNoLessConfinedThanTheApp(t *testing.T) {
	d := dockertest.Start(t)
	pids := int64(40)
	for name, host := range map[string]*container.HostConfig{
		"confined": {
			ReadonlyRootfs: true, Tmpfs: map[string]string{"/tmp": "size=4m"}, CapDrop: []string{"ALL"}, CapAdd: []string{"CHOWN", "KILL"},
			SecurityOpt: []string{"no-new-privileges", "seccomp=" + noFolders}, MaskedPaths: []string{"/proc/uptime"}, ReadonlyPaths: []string{"/proc/sys"},
			GroupAdd: []string{"2000"}, IpcMode: "none", OomScoreAdj: 300, CgroupnsMode: "private",
			Resources: container.Resources{PidsLimit: &pids, Memory: 128 << 20, Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 77, Hard: 77}}},
		},
		"as the daemon has it": {},
		"unconfined": {PidMode: "host", IpcMode: "host", CgroupnsMode: "host", SecurityOpt: []string{"seccomp=unconfined"},
			CapAdd: []string{"SYS_ADMIN", "NET_ADMIN"}, MaskedPaths: []string{}, ReadonlyPaths: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			appName := "app-" + strings.ReplaceAll(name, " ", "-")
			created, err := d.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: appName,
				Config: &container.Config{Image: dockertest.Image, Entrypoint: []string{"/bin/bash", "-c"}, Cmd: []string{tries + "; exec sleep 7654321"}}, HostConfig: host})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				d.Client.ContainerRemove(context.Background(), created.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			})
			if _, err := d.Client.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
				t.Fatal(err)
			}
			logs, err := d.Client.ContainerLogs(t.Context(), created.ID, client.ContainerLogsOptions{ShowStdout: true, Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			defer logs.Close()
			plain, w := io.Pipe()
			go func() { // ends with the logs
				_, err := stdcopy.StdCopy(w, io.Discard, logs)
				w.CloseWithError(err)
			}()
			app := sessiontest.ReadUntil(t, plain, "done\n")

			r := newRuntime(t, d.Host, "confined")
			spec := line(session.Container{From: appName}, tries)
			spec.Pids = 300
			got := run(t, r, spec).Stdout
			if !strings.HasSuffix(got, "done\n") {
				t.Fatalf("the session tried nothing: %q", got)
			}
			switch name {
			case "confined":
				if got != app {
					t.Errorf("the app:\n%s\na session:\n%s", app, got)
				}
				for _, want := range []string{"root: cannot", "tmp: can\n", "mkdir: cannot", "chmod: can\n", "masked: cannot", "sysctl: cannot", "files 77", "groups 0 2000", "niced 300"} {
					if !strings.Contains(got, want) {
						t.Errorf("no %q in %s", want, got)
					}
				}
				if strings.Contains(got, "shm") {
					t.Error("there is shared memory")
				}
				if got := run(t, r, line(session.Container{From: appName}, "for i in {1..60}; do sleep 100 & done")); !strings.Contains(got.Stderr, "fork") {
					t.Errorf("60 processes within 40: %+v", got)
				}
			case "unconfined":
				if !strings.Contains(app, "sysctl: can\n") || !strings.Contains(app, "Seccomp:\t0\n") {
					t.Errorf("the app:\n%s", app)
				}
				fallthrough
			default:
				if !strings.Contains(got, "sysctl: cannot") || !strings.Contains(got, "root: can\n") || !strings.Contains(got, "Seccomp:\t2") || !strings.Contains(got, "niced 0\n") {
					t.Errorf("a session:\n%s", got)
				}
			}
			settings := inspectNext(t, d, r, spec)
			if h := settings.HostConfig; h.Privileged || h.PidMode.IsHost() || h.IpcMode.IsHost() || h.CgroupnsMode.IsHost() && host.CgroupnsMode.IsPrivate() ||
				!reflect.DeepEqual(h.CapDrop, host.CapDrop) || h.ReadonlyRootfs != host.ReadonlyRootfs {
				t.Errorf("%+v", h)
			}
		})
	}
}

// inspectNext starts a session, and returns the daemon's description of its container.
func inspectNext(t *testing.T, d *dockertest.Daemon, r session.Runtime, spec session.Spec) container.InspectResponse {
	t.Helper()
	spec.CommandLine = "echo ready; read x"
	p, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	sessiontest.ReadUntil(t, p.Stdout(), "ready")
	got := inspect(t, d, "confined")
	p.Kill()
	sessiontest.Collect(p)
	return got
}
