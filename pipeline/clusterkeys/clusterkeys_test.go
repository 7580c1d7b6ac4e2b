package clusterkeys

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMake: what is missing is made, and what exists stays, but for the list of public keys.
func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var made []string
	run := func() {
		t.Helper()
		made = nil
		if err := Make(Options{Dir: dir, Servers: []string{"nats-1"}, Made: func(path string) { made = append(made, filepath.Base(path)) }}); err != nil {
			t.Fatal(err)
		}
	}
	run()
	want := []string{"ca.pem", "gateway.pem", "enrich.pem", "router.pem", "admin.pem", "nats-1.pem",
		"gateway.nk", "enrich.nk", "router.nk", "admin.nk", "host_key", "document_key.pem", "gap_key.pem", "admin_token"}
	if !slices.Equal(made, want) {
		t.Errorf("made %q, want %q", made, want)
	}
	for _, name := range []string{"gateway", "nats-1"} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")); err != nil {
			t.Error(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	users, gateway := read(usersFile), read("gateway.pem")
	for _, role := range roles {
		if !strings.Contains(users, "TTYDRAIN_"+strings.ToUpper(role)+"_NKEY: U") {
			t.Errorf("%s lacks %s:\n%s", usersFile, role, users)
		}
	}
	for _, name := range []string{"ca.key", "gateway.key", "gateway.nk", "host_key", "document_key.pem", "gap_key.pem", "admin_token"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, name := range []string{"router.nk", usersFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if !slices.Equal(made, []string{"router.nk"}) || read("gateway.pem") != gateway {
		t.Errorf("made %q again", made)
	}
	if again := read(usersFile); again == users || strings.Count(again, "\n") != len(roles) {
		t.Errorf("the public keys are\n%s", again)
	}
	for _, name := range []string{"../x", "ca", "admin", ".hidden", ""} {
		if err := Make(Options{Dir: dir, Servers: []string{name}, Made: func(string) {}}); err == nil {
			t.Errorf("a server called %q has a certificate", name)
		}
	}
}
