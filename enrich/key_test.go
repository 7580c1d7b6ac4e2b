package enrich

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestKeyFiles(t *testing.T) {
	for _, test := range []struct{ algorithm, made string }{
		{"", "EdDSA"}, {"EdDSA", "EdDSA"}, {"ES256", "ES256"}, {"RS256", "RS256"}, {"RS512", "RS512"},
	} {
		path := filepath.Join(t.TempDir(), "new", "folder", "key.pem")
		k, err := LoadKey(path, test.algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if k.method.Alg() != test.made {
			t.Errorf("%q made a key for %s", test.algorithm, k.method.Alg())
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%q: the key's file has mode %v", test.algorithm, info.Mode())
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 {
			t.Errorf("%q: left %v", test.algorithm, entries)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadKey(path, test.algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if again.id != k.id {
			t.Errorf("%q: another key when loaded again", test.algorithm)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
			t.Errorf("%q: loading changed the file: %v", test.algorithm, err)
		}
		// The other algorithms refuse the key, except that both RSA algorithms share one.
		for _, other := range []string{"EdDSA", "ES256", "RS256", "RS512"} {
			_, err := LoadKey(path, other)
			fits := other == test.made || strings.HasPrefix(other, "RS") && strings.HasPrefix(test.made, "RS")
			if fits && err != nil {
				t.Errorf("a key for %s does not load for %s: %v", test.made, other, err)
			}
			if !fits && (err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), path)) {
				t.Errorf("a key for %s loaded for %s: %v", test.made, other, err)
			}
		}
	}
}

// TestOpenSSLKeys: older formats that openssl writes are supported.
func TestOpenSSLKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ kind, algorithm string }{{"RSA PRIVATE KEY", "RS256"}, {"EC PRIVATE KEY", "ES256"}} {
		der := ec
		if test.algorithm == "RS256" {
			der = x509.MarshalPKCS1PrivateKey(rsaKey)
		}
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: test.kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := LoadKey(path, "")
		if err != nil {
			t.Fatal(err)
		}
		minted, err := k.Mint("i", schema.User{ID: "u"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if header, _ := verify(t, k, minted); header.Algorithm != test.algorithm {
			t.Errorf("%s signs with %s", test.kind, header.Algorithm)
		}
	}
}

func TestKeyRefuses(t *testing.T) {
	encode := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384DER, p384Err := x509.MarshalPKCS8PrivateKey(p384)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	shortDER, shortErr := x509.MarshalPKCS8PrivateKey(short)
	publicDER, publicErr := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "not a PEM file"},
		{"not PEM", []byte("secret"), "not a PEM file"},
		{"another block", encode("CERTIFICATE", []byte("secret"), nil), `PEM block "CERTIFICATE"`},
		{"a public key", encode("PUBLIC KEY", publicDER, publicErr), `PEM block "PUBLIC KEY"`},
		{"damaged", encode("PRIVATE KEY", []byte("secret"), nil), "expected PKCS #8"},
		{"an encrypted key", encode("ENCRYPTED PRIVATE KEY", []byte("secret"), nil), "not an unencrypted private key"},
		{"another curve", encode("PRIVATE KEY", p384DER, p384Err), "P-384: expected P-256"},
		{"a short RSA key", encode("PRIVATE KEY", shortDER, shortErr), "1024 bits: expected at least 2048"},
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path, "")
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, expected %q", test.name, err, test.want)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, test.data) {
			t.Errorf("%s: the file was changed: %v", test.name, err)
		}
	}
	dir := t.TempDir()
	if _, err := LoadKey(dir, ""); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, "key.pem")
	if _, err := LoadKey(path, "HS256"); err == nil || !strings.Contains(err.Error(), "expected RS256, RS512, ES256 or EdDSA") {
		t.Errorf("HS256: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("HS256 made a key")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(filepath.Join(file, "key.pem"), ""); err == nil {
		t.Error("a key was made under a file")
	}
}

// TestLoadKeyConcurrently: concurrent creators of a key all get the same one.
func TestLoadKeyConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, err := LoadKey(path, "")
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("different keys: %q", ids)
		}
	}
}
