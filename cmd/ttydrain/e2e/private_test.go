package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// otherUser is the number of a user that has no entry and no files.
const otherUser = 23456

// moveTo moves a site to a folder that sessions see, and changes its owner to a user, who runs its
// program from then on.
func (s *site) moveTo(dir string, uid int) {
	s.t.Helper()
	if out, err := exec.Command("cp", "-a", s.dir+"/.", dir).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("cp", s.program, dir+"/ttydrain").CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.dir, s.config, s.store, s.key = dir, filepath.Join(dir, "ttydrain.yaml"), filepath.Join(dir, "data"), filepath.Join(s.dir, "ada")
	s.program = filepath.Join(dir, "ttydrain")
	if uid == 0 {
		return
	}
	s.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestRunningSessionsSeeNoNewSecrets rotates the signing key, edits the configuration, and adds a
// file with a secret by a reload, while a session of the gateway's own user looks for them.
func TestRunningSessionsSeeNoNewSecrets(t *testing.T) {
	if os.Getuid() != 0 {
		absent(t, "this test runs gateways of two users, for which it has to be root")
	}
	for name, uid := range map[string]int{"root": 0, "nonroot": otherUser} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("/var/lib", "ttydrain-e2e-") // not below /tmp, which sessions do not see
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			later := dir + ".later"
			t.Cleanup(func() { os.RemoveAll(later) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			s := newSite(t, withSettings("# HUNTER-1"))
			text, err := os.ReadFile(s.config)
			if err != nil {
				t.Fatal(err)
			}
			config := string(text)
			if uid == 0 {
				config = strings.Replace(config, "    id: app-7\n", "    id: app-7\n    user: root\n", 1)
			}
			s.write(s.config, config)
			s.moveTo(dir, uid)
			v := s.serve()

			session := v.openssh(s.key, "-T", "web@127.0.0.1", "while read -r word; do id -u; cat "+dir+"/*.yaml "+dir+"/*.pem "+dir+"/host_key "+dir+"/data/* "+
				later+"/* 2>/dev/null; ls "+dir+" >/dev/null && echo end; done")
			in, err := session.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := session.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := session.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				in.Close()
				session.Wait()
			}()
			lines := bufio.NewReader(out)
			look := func() string {
				t.Helper()
				if _, err := io.WriteString(in, "look\n"); err != nil {
					t.Fatal(err)
				}
				var seen strings.Builder
				for {
					line, err := lines.ReadString('\n')
					if err != nil {
						t.Fatalf("the session ended: %v %s", err, &seen)
					}
					if line == "end\n" {
						return seen.String()
					}
					seen.WriteString(line)
				}
			}
			nothing := func(when string) {
				t.Helper()
				want := "0\n"
				if uid != 0 {
					want = "23456\n"
				}
				if got := look(); got != want {
					t.Errorf("%s: %q", when, got)
				}
			}
			nothing("at first")
			before := v.published()[0]
			rotate := exec.Command(s.program, "keys", "rotate", "-c", s.config)
			rotate.SysProcAttr = s.as
			if got := runTo(t, rotate); got.status != 0 {
				t.Fatalf("keys rotate: %+v", got)
			}
			nothing("after keys rotate")
			await(t, "for serve to use the new key", func() bool { return v.published()[0] != before })
			nothing("after the new key is used")

			s.swap(s.config, config+"# HUNTER-2\n")
			nothing("after an edit")
			if err := os.Mkdir(later, 0o755); err != nil {
				t.Fatal(err)
			}
			s.swap(filepath.Join(later, "token"), "HUNTER-3\n")
			s.swap(s.config, strings.Replace(config, "drains: []", "drains:\n  - {name: new, type: https, url: \"https://127.0.0.1:9/\", headers: {X-Token: \"file:"+later+"/token\"}}", 1))
			await(t, "for the new secret to be hidden", func() bool { return !strings.Contains(look(), "HUNTER") })
			s.swap(filepath.Join(later, "token"), "HUNTER-4\n")
			nothing("after the new secret was replaced")
		})
	}
}

// TestCheckFindsUncoverableFiles: a secret in a folder that is too large to be covered in
// sessions.
func TestCheckFindsUncoverableFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, withDrains(`{name: a, type: https, url: "https://127.0.0.1:9/", headers: {X-Token: "file:large/token"}}`))
	large := filepath.Join(s.dir, "large")
	if err := os.Mkdir(large, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(large, "token"), "abc")
	if got := ttydrain(t, "check", "-c", s.config); got.status != 0 {
		t.Fatalf("a small folder: %+v", got)
	}
	for i := range 4096 {
		s.write(filepath.Join(large, fmt.Sprint(i)), "")
	}
	if got := ttydrain(t, "check", "-c", s.config); got.status != 1 || !strings.Contains(got.stderr, "ttydrain.yaml:") ||
		!strings.Contains(got.stderr, "drains[0].headers.X-Token: ") || !strings.Contains(got.stderr, "a folder of their own") {
		t.Errorf("%+v", got)
	}
	if err := os.Chmod(large, 0o700); err != nil { // it is hidden as a whole then
		t.Fatal(err)
	}
	if got := ttydrain(t, "check", "-c", s.config); got.status != 0 {
		t.Errorf("a folder that is closed to others: %+v", got)
	}
}
