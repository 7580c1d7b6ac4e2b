package admin

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListenSocket checks that only the socket of a killed process is replaced.
func TestListenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "admin.sock")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct {
		path string
		mode os.FileMode
	}{{path, 0o600}, {filepath.Dir(path), 0o700}} {
		if info, err := os.Stat(file.path); err != nil || info.Mode().Perm() != file.mode {
			t.Errorf("%s: %v, %v", file.path, info, err)
		}
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a second listener: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = ListenSocket(path); err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file at the socket's path: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "kept" {
		t.Errorf("the file has %q, %v", data, err)
	}
}
