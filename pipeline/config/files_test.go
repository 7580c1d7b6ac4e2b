package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFiles changes each file that a configuration names, in the ways in which files are changed.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]string{"ada.pub": "ada.pub", "ca.crt": "ca.crt", "token": "token.txt"}
	for name, from := range keys {
		data, err := os.ReadFile("testdata/keys/" + from)
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(data))
	}
	write("f.yaml", `
user_document: {issuer: x}
users: [{id: a, name: a, email: a@b, authorized_keys: [ada.pub], apps: []}]
stacks: [{name: default}]
apps: [{name: web, stack: default, command: [x]}]
drains: [{name: d, type: syslog, address: "127.0.0.1:1", ca_file: ca.crt, token: "file:token"}]
`)
	load := func() Files {
		t.Helper()
		_, files, err := LoadFiles(path("f.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !files.Same(files.Now()) {
			t.Fatal("files that nobody has touched are not the same")
		}
		return files
	}
	for _, name := range []string{"f.yaml", "ada.pub", "ca.crt", "token"} {
		for how, change := range map[string]func() error{
			"replaced by a copy": func() error {
				data, err := os.ReadFile(path(name))
				write("copy", string(data))
				if err != nil {
					return err
				}
				return os.Rename(path("copy"), path(name))
			},
			"longer": func() error {
				f, err := os.OpenFile(path(name), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				_, err = f.WriteString("\n")
				f.Close()
				return err
			},
			"with another mode": func() error { return os.Chmod(path(name), 0o400) },
			"behind a link": func() error {
				if err := os.Rename(path(name), path(name+".real")); err != nil {
					return err
				}
				data, err := os.ReadFile(path(name + ".real"))
				write(name+".other", string(data))
				if err != nil {
					return err
				}
				return os.Symlink(path(name+".other"), path(name))
			},
		} {
			if name == "token" && how == "longer" {
				continue // it would be another value, with a line break
			}
			os.Chmod(path(name), 0o600)
			before := load()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if before.Same(before.Now()) {
				t.Errorf("%s: a file that is %s looks the same", name, how)
			}
			load()
		}
	}

	// A file that is not there is looked out for, and so is one of a configuration with mistakes.
	if err := os.Remove(path("token")); err != nil {
		t.Fatal(err)
	}
	_, files, err := LoadFiles(path("f.yaml"), nil)
	if err == nil || !files.Same(files.Now()) {
		t.Fatalf("without its secret: %v", err)
	}
	write("token", "new")
	if files.Same(files.Now()) {
		t.Error("a file that was made looks the same")
	}
	load()
	// ttydrain makes its own keys: that is no change.
	files = load()
	write("host_key", "x")
	if !files.Same(files.Now()) {
		t.Error("the host key is one of the files")
	}
	_, files, _ = LoadFiles(path("missing.yaml"), nil)
	write("missing.yaml", "x")
	if files.Same(files.Now()) {
		t.Error("a configuration that was made looks the same")
	}
}
