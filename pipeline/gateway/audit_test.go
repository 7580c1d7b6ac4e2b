package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// rsaHostKey returns a host key of the size that ssh-audit recommends.
func rsaHostKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// noQuantum is the one remaining warning of ssh-audit: clients before OpenSSH 9.9 support no hybrid
// key exchange that the SSH library has.
const noQuantum = "does not provide protection against post-quantum attacks"

// TestSSHAudit rates the gateway with ssh-audit: it must find no failure, and no other warning.
func TestSSHAudit(t *testing.T) {
	program, err := exec.LookPath("ssh-audit")
	if err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: ssh-audit is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED: ssh-audit (PyPI) is not installed: the algorithms are not checked")
	}
	s := serve(t, sessiontest.NewShells(), func(o *Options) {
		o.HostKeys = append(o.HostKeys, rsaHostKey(t))
		o.Limits.PerSourcePenalties.Disabled = true // it opens many connections without logging in
	})
	_, port, _ := net.SplitHostPort(s.address)
	stdout, stderr, _ := result(t, exec.Command(program, "--json", "--skip-rate-test", "--port", port, "127.0.0.1"), nil)
	type rated struct {
		Algorithm string
		Notes     struct{ Fail, Warn []string }
	}
	var report struct {
		Kex, Key, Enc, Mac []rated
		CVEs               []any
	}
	if err := json.Unmarshal(stdout, &report); err != nil {
		t.Fatalf("%v: %s\n%s", err, stdout, stderr)
	}
	for name, algorithms := range map[string][]rated{"kex": report.Kex, "key": report.Key, "enc": report.Enc, "mac": report.Mac} {
		if len(algorithms) == 0 {
			t.Errorf("no algorithms were found for %s: %s", name, stdout)
		}
		for _, a := range algorithms {
			warnings := slices.DeleteFunc(a.Notes.Warn, func(text string) bool { return text == noQuantum })
			if len(a.Notes.Fail)+len(warnings) > 0 {
				t.Errorf("%s %s: fail %q, warn %q", name, a.Algorithm, a.Notes.Fail, a.Notes.Warn)
			}
		}
	}
	for _, a := range report.Kex {
		if strings.HasPrefix(a.Algorithm, "diffie-hellman") {
			t.Errorf("%s costs the server much more than the client", a.Algorithm)
		}
	}
	if len(report.CVEs) > 0 {
		t.Errorf("CVEs: %v", report.CVEs)
	}
}

// TestHostKeys: OpenSSH's client gets the key of each type that it requests, and RSA signs with
// SHA-2 only.
func TestHostKeys(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaKey, err := ssh.NewSignerFromKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := rsaHostKey(t)
	s := serve(t, sessiontest.NewShells(), func(o *Options) { o.HostKeys = append(o.HostKeys, rsaKey, ecdsaKey) })
	ed25519Key := s.host
	for algorithm, key := range map[string]ssh.Signer{
		ssh.KeyAlgoED25519: ed25519Key, ssh.KeyAlgoRSASHA512: rsaKey, ssh.KeyAlgoRSASHA256: rsaKey, ssh.KeyAlgoECDSA256: ecdsaKey,
	} {
		s.host = key // which is then in known_hosts
		out, stderr, status := result(t, s.openssh(s.adaKey, "-o", "HostKeyAlgorithms="+algorithm, "web@127.0.0.1", "echo in"), nil)
		if string(out) != "in\n" || status != 0 {
			t.Errorf("%s: %q, status %d: %s", algorithm, out, status, stderr)
		}
	}
	for option, algorithm := range map[string]string{
		"HostKeyAlgorithms": "ssh-rsa", "KexAlgorithms": "diffie-hellman-group14-sha1,diffie-hellman-group14-sha256,ecdh-sha2-nistp256",
		"Ciphers": "aes128-cbc,3des-cbc",
	} {
		_, stderr, status := result(t, s.openssh(s.adaKey, "-o", option+"="+algorithm, "web@127.0.0.1", "true"), nil)
		if status != 255 || !strings.Contains(string(stderr), "no matching") {
			t.Errorf("%s=%s: status %d: %s", option, algorithm, status, stderr)
		}
	}
	// With a cipher that needs a MAC, neither SHA-1 nor MACs without encrypt-then-MAC are offered.
	_, stderr, status := result(t, s.openssh(s.adaKey, "-o", "Ciphers=aes128-ctr", "-o", "MACs=hmac-sha1,hmac-sha2-256", "web@127.0.0.1", "true"), nil)
	if status != 255 || !strings.Contains(string(stderr), "no matching MAC") {
		t.Errorf("MACs: status %d: %s", status, stderr)
	}
}

// TestBadHostKeys: unusable keys are refused, with their names.
func TestBadHostKeys(t *testing.T) {
	one, _ := newKey(t)
	two, _ := newKey(t)
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	fine, err := ssh.NewSignerFromKey(small)
	if err != nil {
		t.Fatal(err)
	}
	good := Options{HostKeys: []ssh.Signer{one, fine}, Authorizer: people{}, Sessions: sessiontest.NewShells()}
	if _, err := New(good); err != nil {
		t.Errorf("keys of two types: %v", err)
	}
	if !slices.Equal(good.HostKeys, []ssh.Signer{one, fine}) {
		t.Error("the caller's keys were changed")
	}
	bad := good
	bad.HostKeys = []ssh.Signer{one, two}
	if _, err := New(bad); err == nil || !strings.Contains(fmt.Sprint(err), "two host keys of type ssh-ed25519") {
		t.Errorf("two keys of a type: %v", err)
	}
}
