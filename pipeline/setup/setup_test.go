package setup

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Dir: filepath.Join(t.TempDir(), "try"), SSHFolder: t.TempDir(), App: "web",
		User:    mail.Address{Name: `Ada "the first" Lovelace: #1`, Address: "ada@example.com"},
		Gateway: "0.0.0.0:2222", Admin: "127.0.0.1:9464", Receiver: "127.0.0.1:8443",
	}
}

// addKey writes a key pair to a folder; without its private half if private is false.
func addKey(t *testing.T, folder, name string, private bool) ssh.PublicKey {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, name+".pub"), ssh.MarshalAuthorizedKey(sshKey))
	if private {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name), pem.EncodeToMemory(block))
	}
	return sshKey
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCreateUsesTheCallersKeys(t *testing.T) {
	type pair struct {
		name    string
		private bool
	}
	for _, test := range []struct {
		name     string
		pairs    []pair
		agent    bool
		keys     int    // that may log in
		identity string // base name of the private key that clients have to name
	}{
		{"no key", nil, false, 1, "id_ed25519"},
		{"an agent without files", nil, true, 1, "id_ed25519"},
		{"the default key", []pair{{"id_ed25519", true}}, false, 1, ""},
		{"another key", []pair{{"work", true}}, false, 1, "work"},
		{"several keys", []pair{{"id_rsa", true}, {"work", true}, {"token", false}}, false, 3, ""},
		{"a public key alone", []pair{{"token", false}}, false, 2, "id_ed25519"},
		{"a public key alone with an agent", []pair{{"token", false}}, true, 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(t)
			o.HasAgent = test.agent
			write(t, filepath.Join(o.SSHFolder, "note.pub"), []byte("not a key"))
			var keys []ssh.PublicKey
			for _, p := range test.pairs {
				keys = append(keys, addKey(t, o.SSHFolder, p.name, p.private))
			}
			r, err := Create(o)
			if err != nil {
				t.Fatal(err)
			}
			identity := r.Identity
			if identity != "" {
				identity = filepath.Base(identity)
			}
			if identity != test.identity {
				t.Errorf("identity %q, want %q", identity, test.identity)
			}
			c, err := config.Load(r.Config)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Users[0].Keys) != test.keys {
				t.Errorf("%d keys may log in, want %d", len(c.Users[0].Keys), test.keys)
			}
			for _, key := range keys {
				if user, ok := c.Authorize("web", key); !ok || user.Name != o.User.Name || user.Email != "ada@example.com" {
					t.Errorf("user %+v, %v", user, ok)
				}
			}
			if test.identity == "id_ed25519" {
				created, err := os.ReadFile(r.Identity)
				if err != nil {
					t.Fatal(err)
				}
				key, err := ssh.ParsePrivateKey(created)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := c.Authorize("web", key.PublicKey()); !ok {
					t.Error("the new key may not log in")
				}
			}
		})
	}
}

func TestCreateReplacesOnlyWithForce(t *testing.T) {
	o := options(t)
	first, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	contents := func() map[string][]byte {
		all := make(map[string][]byte)
		for _, name := range []string{configFile, hostKeyFile, signingKeyFile, identityFile, "receiver/ca.pem", "receiver/server.pem"} {
			path := first.path(name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = data
			if info, err := os.Stat(path); err != nil || filepath.Ext(name) != ".pem" && info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
		return all
	}
	before := contents()
	if info, err := os.Stat(o.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	o.App = "api"
	if _, err := Create(o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want %v", err, fs.ErrExist)
	}
	for name, data := range contents() {
		if !bytes.Equal(data, before[name]) {
			t.Errorf("%s was replaced without force", name)
		}
	}
	o.Force = true
	if _, err := Create(o); err != nil {
		t.Fatal(err)
	}
	for name, data := range contents() {
		if same := bytes.Equal(data, before[name]); same == (name == configFile) {
			t.Errorf("%s with force: unchanged is %v", name, same)
		}
	}
}

func TestWriteNextQuotes(t *testing.T) {
	o := options(t)
	o.Dir = filepath.Join(filepath.Dir(o.Dir), "Ada's 100% try")
	r, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteNext(&text, "ttydrain"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Ada'\''s 100% try/ssh_config' web`, `Ada'\''s 100% try/ttydrain.yaml'`, "http://127.0.0.1:9464/console/",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &text)
		}
	}
}

// TestClientConfig: the file means the same to OpenSSH's client, also with special characters in
// paths.
func TestClientConfig(t *testing.T) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: ssh is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: ssh is not installed")
	}
	for _, name := range []string{"plain", "with space", "100% %h", `a"b\c`, "#1", "größe"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := ClientConfig{App: "web", Address: "[::1]:2222", Identity: filepath.Join(dir, "key"), KnownHosts: filepath.Join(dir, "known_hosts"), AcceptNew: true}
		text, err := c.Text()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "ssh_config")
		write(t, file, text)
		got, err := exec.Command(program, "-G", "-F", file, "web").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s\n%s", name, err, got, text)
		}
		// -G replaces the tokens in the one file name, and not in the other.
		identity := strings.ReplaceAll(c.Identity, "%", "%%")
		for _, want := range []string{"hostname ::1\n", "port 2222\n", "user web\n", "identitiesonly yes\n", "stricthostkeychecking accept-new\n",
			"identityfile " + identity + "\n", "userknownhostsfile " + c.KnownHosts + "\n"} {
			if !strings.Contains(string(got), want) {
				t.Errorf("%s: %q is missing in\n%s\nof\n%s", name, want, got, text)
			}
		}
	}
}

func TestAsk(t *testing.T) {
	var user mail.Address
	app := ""
	err := Ask(strings.NewReader("Ada\nAda <ada@example.com>\n\n"), io.Discard, []Question{
		{"user", "nobody", func(text string) (err error) { user, err = ParseUser(text); return err }},
		{"app", "web", func(text string) error { app = text; return CheckApp(text) }},
	})
	if err != nil || user.Name != "Ada" || app != "web" {
		t.Errorf("%v, %q, %v", user, app, err)
	}
	if err := Ask(strings.NewReader(""), io.Discard, []Question{{"app", "web", CheckApp}}); !errors.Is(err, io.EOF) {
		t.Errorf("%v at the end of the input, want %v", err, io.EOF)
	}
}
