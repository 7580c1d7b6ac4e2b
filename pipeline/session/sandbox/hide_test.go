//go:build linux

package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// visibleDir returns a directory of the test that sessions see, unlike t.TempDir.
func visibleDir(t *testing.T) string {
	t.Helper()
	base := os.Getenv("SANDBOX_TEST_VISIBLE")
	if base == "" {
		base = "/var/lib"
	}
	dir, err := os.MkdirTemp(base, "ttydrain-test-")
	if err != nil {
		missing(t, "a folder that sessions see: %v", err)
	}
	t.Cleanup(func() { removeTree(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// replaceFile replaces a file by renaming, as key rotation and editors do.
func replaceFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	write(t, path+".new", content, mode)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A searcher is a session that searches directories for private content on request.
type searcher struct {
	t *testing.T
	p session.Process
}

func newSearcher(t *testing.T, r *Runtime, as func(session.Spec) session.Spec, dirs ...string) *searcher {
	t.Helper()
	command := "while read -r _; do grep -rs 'SECRET' " + strings.Join(dirs, " ") + "; find " + strings.Join(dirs, " ") + " -type l -exec cat {} + 2>/dev/null; " +
		"cat " + strings.Join(dirs, "/shared/public ") + "/shared/public 2>/dev/null; echo searched; done"
	spec := as(line(command))
	spec.Name = "s-" + strings.ToLower(rand.Text()) // several run concurrently
	return &searcher{t, start(t, r, spec)}
}

func (s *searcher) look() string {
	s.t.Helper()
	if _, err := s.p.Stdin().Write([]byte("go\n")); err != nil {
		s.t.Fatal(err)
	}
	return sessiontest.ReadUntil(s.t, s.p.Stdout(), "searched\n")
}

func (s *searcher) end() {
	s.p.Kill()
	sessiontest.Finish(s.t, s.p)
}

// privateTree creates private files in typical layouts: next to public ones, and in separate
// directories.
type privateTree struct {
	dir     string
	private []string
}

func newPrivateTree(t *testing.T, dir string) privateTree {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, mode := range map[string]os.FileMode{
		"shared/config.yaml": 0o644, "shared/key.pem": 0o600, "shared/.key.pem.swp": 0o644, "shared/config.yaml~": 0o644, "shared/next_token": 0o600,
		"own/tls.key": 0o600, "own/other": 0o644, "store/admin_token": 0o644, "store/sub/block": 0o644,
		"volume/..1/token": 0o644, "elsewhere/seed": 0o600,
	} {
		write(t, at(name), "SECRET\n", mode)
	}
	write(t, at("shared/public"), "public\n", 0o644)
	err := errors.Join(os.Chmod(at("own"), 0o700),
		os.Symlink("..1", at("volume/..data")), os.Symlink("..data/token", at("volume/token")), // as Kubernetes mounts secrets
		os.Symlink("../elsewhere/seed", at("shared/seed")), os.Link(at("shared/key.pem"), at("shared/hardlink")),
		os.Chmod(at("shared/hardlink"), 0o600), os.Mkdir(at("shared/folder"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	write(t, at("shared/folder/public"), "public\n", 0o644)
	return privateTree{dir, []string{at("shared/config.yaml"), at("shared/key.pem"), at("shared/not-yet"), at("shared/seed"), at("own/tls.key"), at("store"),
		at("volume/token"), at("no/such/folder/key")}}
}

// TestPrivateFilesStayHidden replaces, adds and moves private files during sessions of all kinds of
// users.
func TestPrivateFilesStayHidden(t *testing.T) {
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		dir := visibleDir(t)
		tree := newPrivateTree(t, dir)
		at := func(name string) string { return filepath.Join(dir, name) }
		asIs := func(s session.Spec) session.Spec { return s }
		if got := newSearcher(t, r, asGateway, dir); !strings.Contains(got.look(), "SECRET") {
			t.Fatal("nothing is found where nothing is hidden")
		} else {
			got.end()
		}
		private := tree.private
		r.hidden = func() []string { return private }
		searchers := map[string]*searcher{"its own user": newSearcher(t, r, asIs, dir), "the gateway's user": newSearcher(t, r, asGateway, dir)}
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"as it was", func() {}},
			{"replaced by rename", func() {
				for _, name := range []string{"shared/config.yaml", "shared/key.pem", "own/tls.key", "elsewhere/seed"} {
					replaceFile(t, at(name), "SECRET\n", 0o644)
				}
			}},
			{"written in place", func() { write(t, at("shared/key.pem"), "SECRET again\n", 0o644) }},
			{"made", func() {
				write(t, at("shared/not-yet"), "SECRET\n", 0o644)
				write(t, at("shared/key.pem.bak"), "SECRET\n", 0o644)
				write(t, at("own/new"), "SECRET\n", 0o644)
			}},
			{"a symbolic link replaced by a file", func() { replaceFile(t, at("shared/seed"), "SECRET\n", 0o644) }},
			{"a volume's link swapped", func() {
				write(t, at("volume/..2/token"), "SECRET\n", 0o644)
				if err := errors.Join(os.Symlink("..2", at("volume/..tmp")), os.Rename(at("volume/..tmp"), at("volume/..data"))); err != nil {
					t.Fatal(err)
				}
				r.Conceal()
			}},
			{"a folder replaced", func() {
				write(t, at("own.new/tls.key"), "SECRET\n", 0o644)
				if err := errors.Join(os.Rename(at("own"), at("own.old")), os.Remove(at("own.old/tls.key")), os.Remove(at("own.old/other")), os.Remove(at("own.old/new")), os.Rename(at("own.new"), at("own"))); err != nil {
					t.Fatal(err)
				}
				r.Conceal()
			}},
			{"another file named", func() {
				write(t, at("later/token"), "SECRET\n", 0o644)
				write(t, at("shared/public"), "SECRET\n", 0o644) // which was visible
				private = append(slices.Clone(private), at("later/token"), at("shared/public"))
				r.Conceal()
			}},
		} {
			step.do()
			for who, s := range searchers {
				got := s.look()
				// The init executes the orders of Conceal, concurrently with the command.
				for tries := 0; strings.Contains(got, "SECRET") && strings.HasPrefix(step.name, "a") && tries < 500; tries++ {
					got = s.look()
				}
				if strings.Contains(got, "SECRET") {
					t.Errorf("%s, as %s:\n%s", step.name, who, got)
				}
				if step.name == "as it was" && !strings.Contains(got, "public\n") {
					t.Errorf("what is not private is hidden too, as %s: %s", who, got)
				}
			}
			if t.Failed() {
				break
			}
		}
		for _, s := range searchers {
			s.end()
		}
		// New sessions hide them from the start. Files that are no longer private are no longer hidden.
		if err := errors.Join(os.RemoveAll(at("volume/..1")), os.RemoveAll(at("elsewhere"))); err != nil {
			t.Fatal(err)
		}
		if s := newSearcher(t, r, asGateway, dir); strings.Contains(s.look(), "SECRET") {
			t.Error("a new session sees private files")
		} else {
			s.end()
		}
	})
}

// TestPrivateFilesInOtherMounts: the same directory and file are mounted a second time.
func TestPrivateFilesInOtherMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := visibleDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("etc/key.pem"), "SECRET\n", 0o644)
	write(t, at("store/block"), "SECRET\n", 0o644)
	write(t, at("with space/file"), "", 0o644)
	for _, name := range []string{"all", "one"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range [][2]string{{"etc", "all"}, {"etc/key.pem", "with space/file"}, {"store", "one"}} {
		if err := unix.Mount(at(m[0]), at(m[1]), "", unix.MS_BIND, ""); err != nil {
			missing(t, "mounts: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(at(m[1]), unix.MNT_DETACH) })
	}
	search := line("cd " + dir + "; cat all/key.pem 'with space/file' one/block etc/key.pem 2>/dev/null; echo searched")
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		if got := run(t, r, asGateway(search)).Stdout; strings.Count(got, "SECRET") != 4 {
			t.Fatalf("it is not visible anyway: %q", got)
		}
		r.hidden = func() []string { return []string{at("etc/key.pem"), at("store")} }
		expectOutput(t, r, asGateway(search), "searched\n")
	})
}

// TestPrivateFilesInRoot: directly in the host's root directory, and in that of an app.
func TestPrivateFilesInRoot(t *testing.T) {
	root := buildRoot(t, "bash", "cat", "ls")
	write(t, filepath.Join(root, "key.pem"), "SECRET\n", 0o644)
	write(t, filepath.Join(root, "public"), "public\n", 0o644)
	write(t, filepath.Join(root, "sub/token"), "SECRET\n", 0o644)
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		s := asGateway(line("cat /key.pem /sub/token; cat /public; ls /home /root >/dev/null; cd ~ && echo x >x && cat x"))
		s.Root, s.Command = root, []string{"bash"}
		if got := run(t, r, s); !strings.HasPrefix(got.Stdout, "SECRET\nSECRET\npublic\n") {
			t.Fatalf("it is not visible anyway: %+v", got)
		}
		r.hidden = func() []string { return []string{filepath.Join(root, "key.pem"), filepath.Join(root, "sub/token")} }
		expectOutput(t, r, s, "public\nx\n")

		if os.Getuid() == 0 {
			key := fmt.Sprintf("/ttydrain-test-%d.key", os.Getpid())
			write(t, key, "SECRET\n", 0o644)
			t.Cleanup(func() { os.Remove(key) })
			s := asGateway(line("cat " + key + " 2>/dev/null; ls /etc >/dev/null && echo other"))
			r.hidden = nil
			expectOutput(t, r, s, "SECRET\nother\n")
			r.hidden = func() []string { return []string{key} }
			expectOutput(t, r, s, "other\n")
			r.hidden = nil
		}
		// Another user cannot write to the host's root directory: a private file does not exist there.
		s = asGateway(line("ls /; cd ~ && echo x >x && cat x; test -e /etc/passwd && ls /proc/self/status /dev/null /tmp"))
		before := run(t, r, s).Stdout
		r.hidden = func() []string { return []string{"/ttydrain.yaml", "/usr/nothing"} }
		if after := run(t, r, s).Stdout; after != before || !strings.Contains(after, "bin\n") {
			t.Errorf("the root folder looks otherwise:\n%s\n%s", before, after)
		}
		r.hidden = func() []string { return []string{"/etc"} }
		expectOutput(t, r, asGateway(line("test -e /etc/passwd || echo none")), "none\n")
		r.hidden = func() []string { return []string{root} }
		s.Root = root
		_, err := r.Start(t.Context(), s)
		sessiontest.ExpectRefusal(t, err, "root folder", "ttydrain's own files")
	})
}

// TestPrivateFilesInLargeFolder: a file that cannot be hidden is an error; no session ever sees it.
func TestPrivateFilesInLargeFolder(t *testing.T) {
	dir := visibleDir(t)
	for i := range maxEntries + 1 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	eachWithNamespaces(t, func(t *testing.T, r *Runtime) {
		r.hidden = func() []string { return []string{filepath.Join(dir, "key.pem")} }
		_, err := r.Start(t.Context(), line("true"))
		if err == nil || !strings.Contains(err.Error(), "folder of their own") {
			t.Errorf("%v", err)
		}
	})
}

func TestIsDerived(t *testing.T) {
	for _, test := range []struct {
		name string
		want bool
	}{
		{"key", true}, {"key~", true}, {".key.swp", true}, {"#key#", true}, {"key.bak", true}, {"old-key", true}, {"monkey.key", true},
		{"monkey", false}, {"keyboard", false}, {"keyé", false}, {"ke", false}, {"", false},
	} {
		if got := isDerived(test.name, "key"); got != test.want {
			t.Errorf("%q: %v", test.name, got)
		}
	}
}

func TestParseMounts(t *testing.T) {
	got := parseMounts([]byte("36 35 98:0 / /mnt\\040point\\134 rw shared:1 - ext4 /dev/sda rw\nbroken\n37 35 98:0 /a /b rw - ext4 /dev/sda rw\n"))
	want := []mountPoint{{"98:0", "/", `/mnt point\`}, {"98:0", "/a", "/b"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
