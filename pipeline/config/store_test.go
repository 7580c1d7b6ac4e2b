package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStoreOf: the store is found in a file that is being edited.
func TestStoreOf(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ttydrain.yaml")
	for content, want := range map[string]string{
		"":                                      filepath.Join(dir, "data"),
		"store: ./kept # here\n":                filepath.Join(dir, "kept"),
		"gateway: {\nstore: 'a b'\n  apps: [\n": filepath.Join(dir, "a b"),
		"store: \"/var/lib/x\"\n\tdrains:":      "/var/lib/x",
		"drains:\n  store: no\n# store: no\n":   filepath.Join(dir, "data"),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := StoreOf(file); got != want {
			t.Errorf("%q: %s; expected %s", content, got, want)
		}
	}
	if got := StoreOf(filepath.Join(dir, "missing.yaml")); got != filepath.Join(dir, "data") {
		t.Errorf("a missing file: %s", got)
	}
}
