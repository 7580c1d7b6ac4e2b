package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestHostKeyCreatedOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "host_key")
	// Concurrent calls all return the key that is finally in the file.
	keys := make([]ssh.Signer, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := LoadHostKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	again, err := LoadHostKey(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !bytes.Equal(key.PublicKey().Marshal(), again.PublicKey().Marshal()) {
			t.Error("not the same key")
		}
	}
	if again.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Errorf("type %s", again.PublicKey().Type())
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	text, _ := os.ReadFile(path)
	if !bytes.HasPrefix(text, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n")) {
		t.Errorf("not in OpenSSH's format")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestHostKeyRefused(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	plain, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	good := pem.EncodeToMemory(plain)
	for _, test := range []struct {
		name string
		text []byte
		mode os.FileMode
		want string
	}{
		{"group may read", good, 0o640, "chmod 600"},
		{"all may read", good, 0o604, "chmod 600"},
		{"all may write", good, 0o602, "chmod 600"},
		{"no key", []byte("hello\n"), 0o600, "delete it"},
		{"empty", nil, 0o600, "delete it"},
		{"public", ssh.MarshalAuthorizedKey(mustSigner(t, private).PublicKey()), 0o600, "delete it"},
		{"cut", good[:len(good)/2], 0o600, "delete it"},
		{"passphrase", pem.EncodeToMemory(locked), 0o600, "ssh-keygen -p -f"},
		{"large", bytes.Repeat([]byte("x"), 1<<20), 0o600, "is not a key"},
	} {
		path := filepath.Join(t.TempDir(), "host_key")
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadHostKey(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", test.name, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, test.text) {
			t.Errorf("%s: the file was changed", test.name)
		}
	}
	if _, err := LoadHostKey(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadHostKey(filepath.Join(t.TempDir(), "none", "host_key")); err != nil {
		t.Errorf("no folder: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadHostKey(filepath.Join(file, "host_key")); err == nil {
		t.Error("a file instead of the directory is accepted")
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "k"), good, 0o400); err != nil {
		t.Fatal(err)
	}
}

func mustSigner(t *testing.T, key ed25519.PrivateKey) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
