package client_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
)

func rsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// certify makes a host certificate for 127.0.0.1.
func certify(t *testing.T, authority, key ssh.Signer) ssh.Signer {
	t.Helper()
	c := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestHostKeys connects to gateways with different keys, and different known hosts.
func TestHostKeys(t *testing.T) {
	ada, _ := clienttest.NewKey(t)
	key, _ := clienttest.NewKey(t)
	other, _ := clienttest.NewKey(t)
	authority, _ := clienttest.NewKey(t)
	long := rsaKey(t)
	certified := certify(t, authority, key)
	line := func(address string, key ssh.Signer) string {
		return knownhosts.Line([]string{address}, key.PublicKey()) + "\n"
	}
	hashed := func(address string, key ssh.Signer) string {
		host := knownhosts.HashHostname(knownhosts.Normalize(address))
		return host + " " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	const (
		good    = "good"
		unknown = "unknown"
		changed = "changed"
		revoked = "revoked"
		failed  = "failed"
	)
	for _, test := range []struct {
		name  string
		has   []ssh.Signer
		known func(address string) string
		want  string
	}{
		{"no file", []ssh.Signer{key}, nil, unknown},
		{"empty", []ssh.Signer{key}, func(string) string { return "" }, unknown},
		{"another host", []ssh.Signer{key}, func(string) string { return line("example.com:2222", key) }, unknown},
		{"same host, another port", []ssh.Signer{key}, func(string) string { return line("127.0.0.1:22", other) }, unknown},
		{"known", []ssh.Signer{key}, func(a string) string { return "# mine\n\n" + line(a, key) }, good},
		{"known, hashed", []ssh.Signer{key}, func(a string) string { return hashed(a, key) }, good},
		{"known by one of two keys", []ssh.Signer{key}, func(a string) string { return line(a, other) + line(a, key) }, good},
		{"changed", []ssh.Signer{key}, func(a string) string { return line(a, other) }, changed},
		{"changed, hashed", []ssh.Signer{key}, func(a string) string { return hashed(a, other) }, changed},
		{"another kind than the known one", []ssh.Signer{long}, func(a string) string { return line(a, key) }, changed},
		{"several keys, the RSA key known", []ssh.Signer{key, long}, func(a string) string { return line(a, long) }, good},
		{"several keys, the other known", []ssh.Signer{key, long}, func(a string) string { return line(a, key) }, good},
		{"revoked", []ssh.Signer{key}, func(a string) string {
			return line(a, key) + "@revoked * " + line(a, key)[strings.Index(line(a, key), " ")+1:]
		}, revoked},
		{"known authority", []ssh.Signer{certified}, func(a string) string { return "@cert-authority " + line(a, authority) }, good},
		{"known authority, no certificate", []ssh.Signer{key}, func(a string) string { return "@cert-authority " + line(a, authority) }, unknown},
		{"known authority of another certificate", []ssh.Signer{certified}, func(a string) string { return "@cert-authority " + line(a, other) }, failed},
		{"nonsense", []ssh.Signer{key}, func(string) string { return "nonsense\n" }, failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := clienttest.StartGateway(t, []ssh.PublicKey{ada.PublicKey()}, test.has...)
			hosts := client.KnownHosts{File: filepath.Join(t.TempDir(), "folder", "known_hosts")}
			if test.known != nil {
				os.MkdirAll(filepath.Dir(hosts.File), 0o700)
				if err := os.WriteFile(hosts.File, []byte(test.known(g.Address)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			connect := func() error {
				algorithms, err := hosts.Algorithms(g.Address)
				if err != nil {
					return err
				}
				c, err := client.Dial(t.Context(), client.Options{
					Address: g.Address, User: clienttest.App, Signers: []ssh.Signer{ada}, HostKey: hosts.Check, HostKeyAlgorithms: algorithms,
				})
				if err == nil {
					c.Close()
				}
				return err
			}
			err := connect()
			mismatch, isMismatch := errors.AsType[*client.HostKeyError](err)
			missing, isMissing := errors.AsType[*client.UnknownHostError](err)
			got := failed
			switch {
			case err == nil:
				got = good
			case isMissing:
				got = unknown
			case isMismatch && mismatch.Revoked != nil:
				got = revoked
			case isMismatch:
				got = changed
			}
			if got != test.want {
				t.Fatalf("%s: %v", got, err)
			}
			switch {
			case isMismatch:
				for _, want := range []string{"WARNING", "SOMEONE IS DOING SOMETHING NASTY", ssh.FingerprintSHA256(test.has[0].PublicKey()), hosts.File, "verification failed"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("no %q in:\n%v", want, err)
					}
				}
			case isMissing:
				if err := hosts.Add(missing.Address, missing.Key); err != nil {
					t.Fatal(err)
				}
				if err := connect(); err != nil {
					t.Errorf("after it was added: %v", err)
				}
			case got == failed && test.name == "nonsense":
				if !strings.Contains(err.Error(), hosts.File+":1") {
					t.Errorf("where is it? %v", err)
				}
			}
		})
	}
}

func TestAddKnownHost(t *testing.T) {
	key, _ := clienttest.NewKey(t)
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	hosts := client.KnownHosts{File: file}
	for _, host := range []string{"a.example.com:22", "b.example.com:2222"} {
		if err := hosts.Add(host, key.PublicKey()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	public := " " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	if want := "a.example.com" + public + "[b.example.com]:2222" + public; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// An unterminated last line remains a separate line.
	if err := os.WriteFile(file, []byte("# no end"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hosts.Add("c.example.com:22", key.PublicKey()); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "# no end\nc.example.com"+public {
		t.Errorf("got %q", text)
	}
	if err := (client.KnownHosts{File: filepath.Join(file, "below")}).Add("d.example.com:22", key.PublicKey()); err == nil {
		t.Error("added to a file below a file")
	}
}

func TestAlgorithms(t *testing.T) {
	key, _ := clienttest.NewKey(t)
	hosts := client.KnownHosts{File: filepath.Join(t.TempDir(), "known_hosts")}
	all, err := hosts.Algorithms("example.com:22")
	if err != nil || len(all) < 4 {
		t.Fatalf("%q, %v", all, err)
	}
	if err := hosts.Add("example.com:22", rsaKey(t).PublicKey()); err != nil {
		t.Fatal(err)
	}
	known, err := hosts.Algorithms("example.com:22")
	if err != nil {
		t.Fatal(err)
	}
	if first := slices.Sorted(slices.Values(known[:2])); !slices.Equal(first, []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}) {
		t.Errorf("first %q", first)
	}
	if !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(known))) {
		t.Errorf("%q are not %q", known, all)
	}
	if slices.ContainsFunc(all, func(a string) bool { return strings.Contains(a, "cert") }) {
		t.Errorf("certificates without an authority: %q", all)
	}
	if err := os.WriteFile(hosts.File, []byte("@cert-authority example.com "+string(ssh.MarshalAuthorizedKey(key.PublicKey()))), 0o600); err != nil {
		t.Fatal(err)
	}
	if known, err := hosts.Algorithms("example.com:22"); err != nil || !strings.Contains(known[0], "cert") {
		t.Errorf("%q, %v", known, err)
	}
}
