package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestReproducible builds the commit in two clones, and compares all files by their checksums.
func TestReproducible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var sums []string
	for _, clone := range []string{"one", "another/folder"} {
		to := filepath.Join(dir, clone)
		if out, err := exec.Command("git", "clone", "-q", repository, to).CombinedOutput(); err != nil {
			t.Fatalf("git clone: %v\n%s", err, out)
		}
		if err := run(t.Context(), []string{"-root", to, "-out", to + "-dist", "-arch", runtime.GOARCH}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(to + "-dist/SHA256SUMS")
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(data))
	}
	if sums[0] != sums[1] || strings.Count(sums[0], "\n") != 4 {
		t.Errorf("the checksums differ:\n%s\n%s", sums[0], sums[1])
	}
}

// TestArchitectures packages for the other architecture. What its binary contains does not matter
// to the packages.
func TestArchitectures(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "rpm")
	packages(t)
	r, err := newRelease(t.Context(), repository, "1.2.3-rc.1")
	if err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	binary, out := filepath.Join(releases.dir, "ttydrain"), t.TempDir()
	if _, err := r.pack(t.Context(), arch, binary, binary, filepath.Join(out, "work"), out); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(out, "ttydrain_1.2.3-rc.1_linux_"+arch)
	for _, test := range []struct {
		want string
		args []string
	}{
		{"1.2.3~rc.1-1", []string{"dpkg-deb", "-f", base + ".deb", "Version"}},
		{"1.2.3~rc.1", []string{"rpm", "-qp", "--qf", "%{VERSION}", base + ".rpm"}},
		{arch, []string{"dpkg-deb", "-f", base + ".deb", "Architecture"}},
		{map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch], []string{"rpm", "-qp", "--qf", "%{ARCH}", base + ".rpm"}},
	} {
		got, err := exec.Command(test.args[0], test.args[1:]...).Output()
		if err != nil || strings.TrimSpace(string(got)) != test.want {
			t.Errorf("%q: %q, %v, want %q", test.args, got, err, test.want)
		}
	}
}
