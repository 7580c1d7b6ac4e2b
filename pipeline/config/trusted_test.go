package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestChangeableFiles makes each file that decides who is trusted writable by others: the
// configuration is refused, at the setting, or accepted with a warning where it says so. Others may
// read these files.
func TestChangeableFiles(t *testing.T) {
	const start = `user_document: {issuer: "https://auth.example.com"}
stacks: [{name: default}]
apps: [{name: web, stack: default}]
`
	const users = "users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [ada.pub], apps: [web]}]\n"
	drain := func(settings string) string {
		return users + "drains:\n  - {name: a, type: syslog, address: \"x:1\", " + settings + "}\n"
	}
	for _, test := range []struct{ name, settings, file, path string }{
		{"configuration without secrets", users, "f.yaml", ""},
		{"keys of a user", users, "ada.pub", "users[0].authorized_keys[0]"},
		{"keys of a CA", "user_ca: [{name: ca, public_keys: [ada.pub]}]\n", "ada.pub", "user_ca[0].public_keys[0]"},
		{"revoked keys", "user_ca: [{name: ca, public_keys: [ada.pub], revoked_keys: revoked}]\n", "revoked", "user_ca[0].revoked_keys"},
		{"authorities of a drain", drain("ca_file: ca.crt"), "ca.crt", "drains[0].ca_file"},
		{"certificate", drain("cert_file: client.crt, key_file: client.key"), "client.crt", "drains[0].cert_file"},
		{"authorities of the commands", users + "admin: {ca_file: ca.crt}\n", "ca.crt", "admin.ca_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, data []byte) {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"ada.pub", "ca.crt", "client.crt", "client.key"} {
				write(name, mustRead(t, "testdata/keys/"+name))
			}
			write("revoked", nil)
			config := filepath.Join(dir, "f.yaml")
			write("f.yaml", []byte(start+test.settings))
			mode := func(mode os.FileMode) {
				t.Helper()
				if err := os.Chmod(filepath.Join(dir, test.file), mode); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range []os.FileMode{0o644, 0o444, 0o664} { // the last for the owner's own group
				if mode(m); m != 0o664 || ownGroup(t, config) {
					load(t, config)
				}
			}
			mode(0o666)
			_, err := Load(config)
			m := mistakesOf(t, err)
			if len(m) != 1 || m[0].Path != test.path || m[0].Code != codeOpenFile || !strings.Contains(m[0].Message, "can be changed by others (mode 0666)") {
				t.Errorf("mode 0666: %v", m)
			}
			mode(0o644)
			write("f.yaml", []byte(start+test.settings+"insecure_file_permissions: warn\n"))
			mode(0o666)
			if w := load(t, config).Warnings(); len(w) != 1 || w[0].Path != test.path || w[0].Code != codeOpenFile {
				t.Errorf("mode 0666, with a warning: %v", w)
			}
		})
	}
}

// ownGroup reports whether the group of a file has the number of its owner.
func ownGroup(t *testing.T, file string) bool {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid == st.Gid
}

// TestMountedSecrets mounts secrets as Kubernetes and Docker Swarm do, read-only and in memory,
// with mode 0444: they are accepted with a warning.
func TestMountedSecrets(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: only root can mount, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: only root can mount")
	}
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	secrets := filepath.Join(dir, "secrets")
	if err := os.Mkdir(secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", secrets, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatalf("NOT TESTED: mount: %v, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", err)
		}
		t.Skipf("SKIPPED, NOT TESTED: mount: %v", err) // a container without CAP_SYS_ADMIN
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(secrets, 0); err != nil {
			t.Error(err)
		}
	})
	write("ada.pub", mustRead(t, "testdata/keys/ada.pub"), 0o644)
	write("secrets/document.key", mustRead(t, "testdata/keys/document_ed25519.key"), 0o444)
	write("secrets/host_key", mustRead(t, "testdata/keys/client.key"), 0o444)
	write("f.yaml", []byte(`gateway: {host_key: secrets/host_key}
user_document: {issuer: "https://auth.example.com", signing_key: secrets/document.key}
users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [ada.pub], apps: [web]}]
stacks: [{name: default}]
apps: [{name: web, stack: default}]
`), 0o600)
	config := filepath.Join(dir, "f.yaml")
	if _, err := Load(config); len(mistakesOf(t, err)) != 2 {
		t.Errorf("where root can write: %v", err)
	}
	if err := syscall.Mount("", secrets, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if w := load(t, config).Warnings(); len(w) != 1 || w[0].Path != "user_document.signing_key" || w[0].Code != codeOpenFile {
		t.Errorf("mounted read-only: %v", w)
	}
}
