package receive

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/authority"
)

func load(t *testing.T, c certificates) tls.Certificate {
	t.Helper()
	cert, err := c.load()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	now := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	c := certificates{Folder: authority.Folder{Dir: dir, Now: now}, names: []string{"localhost", "127.0.0.1", "::1", "drain.example.com"}}
	first := load(t, c)

	for name, mode := range map[string]os.FileMode{caFile: 0o644, authority.KeyFile: 0o600, serverFile: 0o644, serverKeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("files are left: %v", entries)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, dir, caFile))
	for name, valid := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "drain.example.com": true, "example.com": false} {
		_, err := first.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
		if (err == nil) != valid {
			t.Errorf("%s: %v", name, err)
		}
	}

	if again := load(t, c); !bytes.Equal(again.Certificate[0], first.Certificate[0]) {
		t.Error("a valid certificate was replaced")
	}
	fewer := c
	fewer.names = c.names[:1]
	if again := load(t, fewer); !bytes.Equal(again.Certificate[0], first.Certificate[0]) {
		t.Error("a certificate that is for more names was replaced")
	}

	ca := read(t, dir, caFile)
	renewed := func(what string, c certificates) tls.Certificate {
		t.Helper()
		before := read(t, dir, serverFile)
		cert := load(t, c)
		if bytes.Equal(before, read(t, dir, serverFile)) {
			t.Errorf("%s: the certificate was not replaced", what)
		}
		if !bytes.Equal(ca, read(t, dir, caFile)) {
			t.Errorf("%s: the authority changed: drains do not trust the new one", what)
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: c.names[len(c.names)-1], CurrentTime: c.Now}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return cert
	}
	more := c
	more.names = append(more.names, "another.example.com")
	renewed("another name", more)
	later := more
	later.Now = now.Add(authority.Validity + time.Hour)
	renewed("expired", later)
	nearly := later
	nearly.Now = later.Now.Add(authority.Validity - renewBefore + time.Second)
	renewed("about to expire", nearly)
	if err := os.Remove(filepath.Join(dir, serverKeyFile)); err != nil {
		t.Fatal(err)
	}
	renewed("without its key", nearly)
	if err := os.WriteFile(filepath.Join(dir, serverKeyFile), read(t, dir, authority.KeyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	renewed("with another key", nearly)
	last := nearly
	last.Now = now.Add(authority.CAValidity - renewBefore - time.Hour)
	cert := renewed("near the authority's end", last)
	if end := now.Add(authority.CAValidity); !cert.Leaf.NotAfter.Equal(end) {
		t.Errorf("valid until %v, the authority until %v", cert.Leaf.NotAfter, end)
	}

	after := c
	after.Now = now.Add(authority.CAValidity)
	load(t, after)
	if bytes.Equal(ca, read(t, dir, caFile)) {
		t.Error("an expired authority was kept")
	}
	if info, err := os.Stat(filepath.Join(dir, authority.KeyFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the new key has mode %v, %v", info.Mode(), err)
	}
}

// TestCertificatesOfOperator checks that files installed by an operator are never overwritten.
func TestCertificatesOfOperator(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   string // the error, or "" for none
	}{
		{"no key of the authority, a valid server certificate", func(t *testing.T, dir string) { remove(t, dir, authority.KeyFile) }, ""},
		{"no key of the authority, no server certificate", func(t *testing.T, dir string) { remove(t, dir, authority.KeyFile); remove(t, dir, serverFile) }, "ca.key is missing"},
		{"another key of the authority", func(t *testing.T, dir string) {
			overwrite(t, dir, authority.KeyFile, read(t, dir, serverKeyFile))
			remove(t, dir, serverFile)
		}, "is not the key of"},
		{"an authority that is no PEM", func(t *testing.T, dir string) { overwrite(t, dir, caFile, []byte("x")) }, "must begin with a PEM block of type CERTIFICATE"},
		{"an authority that is a key", func(t *testing.T, dir string) { overwrite(t, dir, caFile, read(t, dir, authority.KeyFile)) }, "must begin with a PEM block of type CERTIFICATE"},
		{"an authority that is damaged", func(t *testing.T, dir string) {
			overwrite(t, dir, caFile, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "remove it to create a new one"},
		{"a key that is damaged", func(t *testing.T, dir string) {
			overwrite(t, dir, serverKeyFile, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
		}, "must be a PKCS #8 key"},
		{"a key that cannot be read", func(t *testing.T, dir string) {
			remove(t, dir, serverKeyFile)
			if err := os.Mkdir(filepath.Join(dir, serverKeyFile), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "read a certificate or its key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := certificates{Folder: authority.Folder{Dir: t.TempDir(), Now: now}, names: []string{"localhost"}}
			load(t, c)
			test.change(t, c.Dir)
			before, err := os.ReadFile(filepath.Join(c.Dir, caFile))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.load()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
			if !bytes.Equal(before, read(t, c.Dir, caFile)) {
				t.Error("ca.pem was overwritten")
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateNames(t *testing.T) {
	names := certificateNames([]string{"", "0.0.0.0", "::", "192.0.2.7", "drain.example.com", "localhost", "drain.example.com"})
	count := make(map[string]int)
	for _, name := range names {
		count[name]++
	}
	for name, want := range map[string]int{"localhost": 1, "127.0.0.1": 1, "::1": 1, "192.0.2.7": 1, "drain.example.com": 1, "": 0, "0.0.0.0": 0, "::": 0} {
		if count[name] != want {
			t.Errorf("%q is there %d times: %q", name, count[name], names)
		}
	}
}
