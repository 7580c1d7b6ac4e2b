//go:build linux

package sandbox

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// hog is a program that allocates memory without end.
func hog(limit int64) session.Spec {
	return session.Spec{Name: "hog", Command: []string{"tail", "/dev/zero"}, Memory: limit}
}

func TestMemoryByCgroup(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		if r.cgroups == nil && os.Getuid() != 0 {
			// No package changes this: an ordinary user has control groups only if they are delegated.
			t.Skipf("NOT TESTED: a memory limit by control group: %s", r.caps)
		}
		if r.cgroups == nil {
			missing(t, "a memory limit by control group: %s", r.caps)
		}
		if got, want := run(t, r, hog(64<<20)).Exit, (session.Exit{Status: 137, Signal: "KILL"}); got != want {
			t.Errorf("a hog: %+v, want %+v", got, want)
		}
		// The kernel kills the hog, and the limit applies to all processes together.
		expectOutput(t, r, func() session.Spec {
			s := line("tail /dev/zero; echo $?")
			s.Memory = 64 << 20
			return s
		}(), "137\n")
		s := line("for i in 1 2 3 4; do (head -c 30000000 /dev/zero | tail >/dev/null; echo $?) & done; wait")
		s.Memory = 64 << 20
		if got := run(t, r, s); !strings.Contains(got.Stdout, "137") && got.Exit.Signal != "KILL" {
			t.Errorf("four times 30 MB within 64 MB: %+v", got)
		}
		if r.caps.Namespaces {
			s = line("head -c 100000000 /dev/zero >file; stat -c %s file; echo alive")
			s.Memory = 64 << 20
			if got := run(t, r, s); strings.Contains(got.Stdout, "100000000") {
				t.Errorf("100 MB in the home within 64 MB: %+v", got)
			}
		}
		// A limit does not affect programs below it.
		s = line("head -c 30000000 /dev/zero | tail -c 1 | wc -c")
		s.Memory = 64 << 20
		expectOutput(t, r, s, "1\n")
	})
}

func TestMemoryByResourceLimit(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			k.most.Memory = MemoryResourceLimit
			r := newTestRuntime(t, k.most)
			if r.caps.Memory != MemoryResourceLimit || !strings.Contains(r.caps.String(), "resource limit") {
				t.Errorf("%s", r.caps)
			}
			got := run(t, r, hog(64<<20))
			if got.Exit.Status == 0 || !strings.Contains(got.Stderr, "memory") {
				t.Errorf("a hog: %+v", got)
			}
			s := line("ulimit -d; ulimit -H -d; ls /proc/self/fd | tr '\\n' ' '; tty; exit 3")
			s.Memory = 64 << 20
			if got := run(t, r, s); got.Stdout != "65536\n65536\n0 1 2 3 not a tty\n" || got.Exit.Status != 3 {
				t.Errorf("%+v", got)
			}
			s = terminal("tty >/dev/null && echo terminal; ps -o args= -p $$")
			s.Memory = 64 << 20
			if got := run(t, r, s); !strings.HasPrefix(got.Stdout, "terminal\r\nps -o args=") {
				t.Errorf("%+v", got)
			}
			s = line("")
			s.Command = []string{"no-such-program"}
			_, err := r.Start(t.Context(), s)
			sessiontest.ExpectRefusal(t, err, "no such program")
			s.Command = []string{"/etc/passwd"}
			_, err = r.Start(t.Context(), s)
			sessiontest.ExpectRefusal(t, err, "chmod +x")
		})
	}
}

func TestFindController(t *testing.T) {
	const (
		v1Mounts = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"35 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"36 30 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids,cpuacct\n" +
			"40 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		v1Docker = "35 30 0:31 /docker/abc /sys/fs/cgroup/memory ro shared:1 - cgroup cgroup rw,memory\n"
		v2Mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	for _, tt := range []struct {
		name, controller, mounts, own string
		want                          []string
		v2                            bool
	}{
		{"v1", "memory", v1Mounts, "4:memory:/a/b\n1:cpu:/\n0::/x\n", []string{"/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory"}, false},
		{"v1 at the top", "memory", v1Mounts, "4:memory:/\n", []string{"/sys/fs/cgroup/memory"}, false},
		{"v1 in a container", "memory", v1Docker, "4:memory:/docker/abc\n", []string{"/sys/fs/cgroup/memory"}, false},
		{"v1 below a container", "memory", v1Docker, "4:memory:/docker/abc/d\n", []string{"/sys/fs/cgroup/memory/d", "/sys/fs/cgroup/memory"}, false},
		{"v1 with a name that only begins like it", "memory", v1Docker, "4:memory:/docker/abcd\n", []string{"/sys/fs/cgroup/memory"}, false},
		{"v2", "memory", v2Mounts, "0::/system.slice/ttydrain.service\n", []string{"/sys/fs/cgroup/system.slice/ttydrain.service", "/sys/fs/cgroup"}, true},
		{"v2 after moving itself", "memory", v2Mounts, "0::/a/ttydrain-gateway\n", []string{"/sys/fs/cgroup/a", "/sys/fs/cgroup"}, true},
		{"v2 at the top", "memory", v2Mounts, "0::/\n", []string{"/sys/fs/cgroup"}, true},
		{"not mounted", "memory", "", "0::/\n", nil, true},
		{"pids of v1", "pids", v1Mounts, "7:cpu,pids:/p\n4:memory:/a/b\n0::/x\n", []string{"/sys/fs/cgroup/pids/p", "/sys/fs/cgroup/pids"}, false},
		{"pids of v2 beside memory of v1", "pids", v1Mounts, "4:memory:/a/b\n0::/x\n", []string{"/sys/fs/cgroup/unified/x", "/sys/fs/cgroup/unified"}, true},
		{"none", "memory", "", "", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findController(tt.mounts, tt.own, tt.controller)
			if !reflect.DeepEqual(got.parents, tt.want) || err == nil && got.v2 != tt.v2 || (err != nil) != (tt.want == nil) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}
