package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInsecureFiles opens each file with secrets to others: the configuration is refused, with the
// place of the setting, or accepted with a warning where it says so.
func TestInsecureFiles(t *testing.T) {
	const start = `user_document: {issuer: "https://auth.example.com", signing_key: document.key}
users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [ada.pub], apps: [web]}]
stacks: [{name: default}]
`
	for _, test := range []struct {
		name     string
		settings string // from line 4 on
		file     string // that is open
		path     string // of the mistake
		line     int
	}{
		{"signing key", "apps: [{name: web, stack: default}]", "document.key", "user_document.signing_key", 1},
		{"file: secret", "apps: [{name: web, stack: default}]\nadmin: {token: \"file:token\"}", "token", "admin.token", 5},
		{"file: secret of an app", "apps: [{name: web, stack: default, env: {A: \"file:token\"}}]", "token", "apps[0].env.A", 4},
		{"file: secret of a header", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: https, url: \"https://x/\", headers: {A: \"file:token\"}}", "token", "drains[0].headers.A", 6},
		{"TLS key of a drain", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: syslog, address: \"x:1\", cert_file: client.crt, key_file: client.key}", "client.key", "drains[0].key_file", 6},
		{"TLS key of NATS", "apps: [{name: web, stack: default}]\nnats: {url: \"tls://x\", cert_file: client.crt, key_file: client.key}", "client.key", "nats.key_file", 5},
		{"credentials of NATS", "apps: [{name: web, stack: default}]\nnats: {url: \"tls://x\", credentials_file: user.creds}", "user.creds", "nats.credentials_file", 5},
		{"NKey seed", "apps: [{name: web, stack: default}]\nnats: {url: \"tls://x\", nkey_seed_file: user.nk}", "user.nk", "nats.nkey_seed_file", 5},
		{"token in the configuration", "apps: [{name: web, stack: default}]\nadmin: {token: hunter2-and-more-of-it}", "f.yaml", "admin.token", 5},
		{"header in the configuration", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: https, url: \"https://x/\", headers: {A: hunter2}}", "f.yaml", "drains[0].headers.A", 6},
		{"password in an app's environment", "apps: [{name: web, stack: default, env: {DB_PASSWORD: hunter2}}]", "f.yaml", "apps[0].env.DB_PASSWORD", 4},
		{"URL in an app's environment", "apps: [{name: web, stack: default, env: {DATABASE_URL: \"postgres://app:hunter2@db/app\"}}]", "f.yaml", "apps[0].env.DATABASE_URL", 4},
		{"URL of a drain with a token", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: https, url: \"https://x/?a=b&api_token=hunter2\"}", "f.yaml", "drains[0].url", 6},
		{"URL of a drain with a password", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: https, url: \"https://me:hunter2@x/\"}", "f.yaml", "drains[0].url", 6},
		{"URL of a collector", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: sumologic, url: \"https://x/hunter2\"}", "f.yaml", "drains[0].url", 6},
		{"URLs without secrets", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: https, url: \"https://x/in?source=b\"}\n  - {name: b, type: elasticsearch, urls: [\"https://x:9200\"], data_stream: logs-a-b}", "f.yaml", "", 0},
		{"nothing secret in the configuration", "apps: [{name: web, stack: default, env: {RAILS_ENV: production, HOME_URL: \"https://x/a:b@c\", DB: \"${TTYDRAIN_TEST_PASSWORD}\"}}]\nadmin: {token: \"${TTYDRAIN_TEST_TOKEN}\"}", "f.yaml", "", 0},
		{"a public key", "apps: [{name: web, stack: default}]", "ada.pub", "", 0},
		{"a certificate", "apps: [{name: web, stack: default}]\ndrains:\n  - {name: a, type: syslog, address: \"x:1\", cert_file: client.crt, key_file: client.key}", "client.crt", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			setEnv(t)
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // others may get there
				t.Fatal(err)
			}
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for name, from := range map[string]string{"ada.pub": "ada.pub", "client.crt": "client.crt", "client.key": "client.key",
				"document.key": "document_ed25519.key", "user.creds": "user.creds", "user.nk": "user.nk"} {
				write(name, string(mustRead(t, "testdata/keys/"+from)))
			}
			write("token", "hunter3-and-more-of-it\n")
			config, file := filepath.Join(dir, "f.yaml"), filepath.Join(dir, test.file)
			write("f.yaml", start+test.settings+"\n")
			load(t, config) // as it should be
			expect := func(how, says string) {
				t.Helper()
				write("f.yaml", start+test.settings+"\n")
				_, err := Load(config)
				if test.path == "" {
					if err != nil {
						t.Errorf("%s: %v", how, err)
					}
					return
				}
				m := mistakesOf(t, err)
				if len(m) != 1 || m[0].Path != test.path || m[0].Line != test.line || !strings.Contains(m[0].Message, says) || strings.Contains(m.Error(), "hunter") {
					t.Errorf("%s: %v", how, err)
				}
				write("f.yaml", start+test.settings+"\ninsecure_file_permissions: warn\n")
				w := load(t, config).Warnings()
				if len(w) != 1 || w[0].Path != test.path || w[0].Line != test.line || !strings.Contains(w[0].Message, says) || strings.Contains(w.Error(), "hunter") {
					t.Errorf("%s, with a warning: %v", how, w)
				}
			}
			for mode, text := range map[os.FileMode]string{0o640: "mode 0640", 0o604: "mode 0604", 0o660: "mode 0660", 0o610: "mode 0610", 0o444: "mode 0444"} {
				if err := os.Chmod(file, mode); err != nil {
					t.Fatal(err)
				}
				if expect(text, text); test.file == "f.yaml" && mode == 0o444 && os.Getuid() != 0 {
					break // it can be written no more
				}
				if err := os.Chmod(file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.file == "f.yaml" && test.path != "" { // where nobody else gets there, it is a warning
				write("f.yaml", start+test.settings+"\n")
				if err := errors.Join(os.Chmod(file, 0o644), os.Chmod(dir, 0o700)); err != nil {
					t.Fatal(err)
				}
				if w := load(t, config).Warnings(); len(w) != 1 || w[0].Path != test.path || !strings.Contains(w[0].Message, "mode 0644") {
					t.Errorf("in a folder that is closed to others: %v", w)
				}
				if err := errors.Join(os.Chmod(file, 0o600), os.Chmod(dir, 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Link(file, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			expect("a hard link", "has 2 names")
		})
	}
}
