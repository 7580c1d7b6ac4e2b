package client_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
)

const passphrase = "correct horse"

// person is a user with a ~/.ssh who is asked for passphrases.
type person struct {
	t       *testing.T
	options client.IdentityOptions
	answers []string // to the next questions; none is no answer
	asked   []string
	unused  []string // the reported keys
}

func newPerson(t *testing.T) *person {
	p := &person{t: t}
	p.options = client.IdentityOptions{
		Folder: t.TempDir(),
		Ask: func(_ context.Context, file string, again bool) ([]byte, error) {
			p.asked = append(p.asked, fmt.Sprintf("%s %t", filepath.Base(file), again))
			if len(p.answers) == 0 {
				return nil, errors.New("there is no terminal")
			}
			answer := p.answers[0]
			p.answers = p.answers[1:]
			return []byte(answer), nil
		},
		Report: func(name string, err error) {
			p.unused = append(p.unused, fmt.Sprintf("%s: %v", filepath.Base(name), err))
		},
	}
	return p
}

func (p *person) file(name string) string { return filepath.Join(p.options.Folder, name) }

// write makes a key in ~/.ssh.
func (p *person) write(name, passphrase string) (ssh.Signer, ed25519.PrivateKey) {
	p.t.Helper()
	signer, private := clienttest.NewKey(p.t)
	clienttest.WriteKey(p.t, p.file(name), private, passphrase)
	return signer, private
}

func (p *person) load() *client.Identities {
	p.t.Helper()
	i, err := client.LoadIdentities(p.t.Context(), p.options)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { i.Close() })
	return i
}

// startAgent starts a key agent with the keys.
func startAgent(t *testing.T, keys ...any) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, key := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "") // the test's folder may be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with the client
				agent.ServeAgent(ring, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func fingerprints(signers ...ssh.Signer) []string {
	var all []string
	for _, s := range signers {
		all = append(all, ssh.FingerprintSHA256(s.PublicKey()))
	}
	return all
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

func TestDefaultIdentities(t *testing.T) {
	p := newPerson(t)
	rsaSigner, _ := p.write("id_rsa", "") // what kind it is does not matter here
	ed, edPrivate := p.write("id_ed25519", "")
	p.write("id_mine", "")
	expect(t, "files", fingerprints(p.load().Signers...), fingerprints(ed, rsaSigner))

	agentKey, agentPrivate := clienttest.NewKey(t)
	p.options.AgentSocket = startAgent(t, agentPrivate, edPrivate)
	expect(t, "with an agent", fingerprints(p.load().Signers...), fingerprints(agentKey, ed, rsaSigner))

	p.options.Files = []string{p.file("id_rsa")}
	expect(t, "a file that was asked for", fingerprints(p.load().Signers...), fingerprints(rsaSigner))
	expect(t, "not used", p.unused, nil)
	expect(t, "asked", p.asked, nil)
}

func TestNoIdentity(t *testing.T) {
	p := newPerson(t)
	_, err := client.LoadIdentities(t.Context(), p.options)
	if !errors.Is(err, client.ErrNoIdentity) {
		t.Fatal(err)
	}
	for _, want := range []string{"SSH_AUTH_SOCK", p.file("id_ed25519"), p.file("id_ecdsa"), p.file("id_rsa")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	expect(t, "not used", p.unused, nil)
	p.options.AgentSocket = startAgent(t)
	if _, err := client.LoadIdentities(t.Context(), p.options); !errors.Is(err, client.ErrNoIdentity) || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("an agent without keys: %v", err)
	}
}

func TestUnusableIdentities(t *testing.T) {
	p := newPerson(t)
	good, _ := p.write("good", "")
	p.write("open", "")
	if err := os.Chmod(p.file("open"), 0o644); err != nil {
		t.Fatal(err)
	}
	other, _ := clienttest.NewKey(t)
	for name, text := range map[string]string{
		"public":  string(ssh.MarshalAuthorizedKey(other.PublicKey())),
		"garbage": "garbage",
		"empty":   "",
		"broken":  "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
	} {
		if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.options.AgentSocket = p.file("no-agent")
	for _, name := range []string{"missing", "good", "open", "public", "garbage", "empty", "broken", "."} {
		p.options.Files = append(p.options.Files, p.file(name))
	}
	expect(t, "usable", fingerprints(p.load().Signers...), fingerprints(good))
	for _, want := range []string{
		"key agent (SSH_AUTH_SOCK): ", "missing: no such file", "open: is accessible by other users: its mode is 0644; run: chmod 600", "public: is a public key",
		"garbage: is not a private key", "empty: is not a private key", "broken: cannot be read", "is a directory",
	} {
		if !slices.ContainsFunc(p.unused, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no %q in %q", want, p.unused)
		}
	}
	if len(p.unused) != 8 {
		t.Errorf("not used: %q", p.unused)
	}
}

// TestPassphrase logs in with encrypted keys and checks which questions are asked.
func TestPassphrase(t *testing.T) {
	login := func(t *testing.T, p *person, people ...ssh.Signer) error {
		var keys []ssh.PublicKey
		for _, s := range people {
			keys = append(keys, s.PublicKey())
		}
		g := clienttest.StartGateway(t, keys)
		c, err := client.Dial(t.Context(), client.Options{
			Address: g.Address, User: clienttest.App, Signers: p.load().Signers, HostKey: ssh.FixedHostKey(g.HostKeys[0].PublicKey()),
		})
		if err == nil {
			c.Close()
		}
		return err
	}
	t.Run("right", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		key, _ := p.write("id_ed25519", passphrase)
		p.answers = []string{"wrong", passphrase}
		if err := login(t, p, key); err != nil {
			t.Error(err)
		}
		expect(t, "asked", p.asked, []string{"id_ed25519 false", "id_ed25519 true"})
		expect(t, "not used", p.unused, nil)
	})
	t.Run("wrong, then another key", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		first, _ := p.write("id_ed25519", passphrase)
		second, _ := p.write("id_rsa", "")
		p.answers = []string{"wrong", "wrong", "wrong", passphrase}
		if err := login(t, p, first, second); err != nil {
			t.Error(err)
		}
		expect(t, "asked", p.asked, []string{"id_ed25519 false", "id_ed25519 true", "id_ed25519 true"})
		expect(t, "not used", p.unused, []string{"id_ed25519: is encrypted, and the passphrases were wrong"})
	})
	t.Run("none given", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		key, _ := p.write("id_ed25519", passphrase)
		p.answers = []string{""}
		if err := login(t, p, key); err == nil {
			t.Error("logged in")
		}
		expect(t, "asked", p.asked, []string{"id_ed25519 false"})
		expect(t, "not used", p.unused, []string{"id_ed25519: is encrypted, and no passphrase was given"})
	})
	t.Run("no terminal", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		key, _ := p.write("id_ed25519", passphrase)
		if err := login(t, p, key); err == nil {
			t.Error("logged in")
		}
		expect(t, "not used", p.unused, []string{"id_ed25519: is encrypted: there is no terminal"})
	})
	t.Run("not asked for a key that is refused", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		p.write("id_ed25519", passphrase)
		second, _ := p.write("id_rsa", "")
		if err := login(t, p, second); err != nil {
			t.Error(err)
		}
		expect(t, "asked", p.asked, nil)
	})
	t.Run("not asked for a key that the agent has", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		key, private := p.write("mine", passphrase)
		p.options.Files = []string{p.file("mine")}
		p.options.AgentSocket = startAgent(t, private)
		if err := login(t, p, key); err != nil {
			t.Error(err)
		}
		expect(t, "asked", p.asked, nil)
	})
	t.Run("public half of a key that the agent has", func(t *testing.T) {
		t.Parallel() // opening such a key takes a while, on purpose
		p := newPerson(t)
		key, private := clienttest.NewKey(t)
		_, other := clienttest.NewKey(t)
		p.options.Files = []string{p.file("mine.pub")}
		if err := os.WriteFile(p.options.Files[0], ssh.MarshalAuthorizedKey(key.PublicKey()), 0o644); err != nil {
			t.Fatal(err)
		}
		p.options.AgentSocket = startAgent(t, other, private)
		expect(t, "keys", fingerprints(p.load().Signers...), fingerprints(key))
		if err := login(t, p, key); err != nil {
			t.Error(err)
		}
	})
}

// TestCertificateFile checks that KEY-cert.pub is tried before KEY. An unusable certificate is
// reported, and the key is used.
func TestCertificateFile(t *testing.T) {
	authority, _ := clienttest.NewKey(t)
	p := newPerson(t)
	certificate := func(name string, key ssh.PublicKey, kind uint32) ssh.PublicKey {
		t.Helper()
		c := &ssh.Certificate{Key: key, KeyId: "ada", CertType: kind, ValidPrincipals: []string{"web"}, ValidBefore: 1} // it has expired, which the server says
		if err := c.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.file(name+"-cert.pub"), ssh.MarshalAuthorizedKey(c), 0o644); err != nil {
			t.Fatal(err)
		}
		return c
	}
	all := func(keys ...ssh.PublicKey) (list []string) {
		for _, k := range keys {
			list = append(list, ssh.FingerprintSHA256(k))
		}
		return list
	}
	plain, _ := p.write("id_ed25519", "")
	secret, _ := p.write("id_ecdsa", passphrase)
	agents, private := clienttest.NewKey(t)
	if err := os.WriteFile(p.file("agents.pub"), ssh.MarshalAuthorizedKey(agents.PublicKey()), 0o644); err != nil {
		t.Fatal(err)
	}
	forPlain, forSecret, forAgents := certificate("id_ed25519", plain.PublicKey(), ssh.UserCert), certificate("id_ecdsa", secret.PublicKey(), ssh.UserCert), certificate("agents", agents.PublicKey(), ssh.UserCert)
	expect(t, "defaults", fingerprints(p.load().Signers...), all(forPlain, plain.PublicKey(), forSecret, secret.PublicKey()))
	p.options.Files, p.options.AgentSocket = []string{p.file("agents.pub"), p.file("id_ed25519")}, startAgent(t, private)
	signers := p.load().Signers
	expect(t, "named", fingerprints(signers...), all(forAgents, agents.PublicKey(), forPlain, plain.PublicKey()))
	for i, key := range []ssh.PublicKey{agents.PublicKey(), nil, plain.PublicKey()} { // a certificate signs as its key does
		signature, err := signers[i].Sign(rand.Reader, []byte("text"))
		if key != nil && (err != nil || key.Verify([]byte("text"), signature) != nil) {
			t.Errorf("key %d: %v", i, err)
		}
	}
	expect(t, "asked", p.asked, nil)
	expect(t, "not used", p.unused, nil)

	p.options.Files, p.options.AgentSocket = nil, ""
	certificate("id_ed25519", secret.PublicKey(), ssh.UserCert)
	certificate("id_ecdsa", secret.PublicKey(), ssh.HostCert)
	p.write("id_rsa", "")
	if err := os.WriteFile(p.file("id_rsa-cert.pub"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := len(p.load().Signers); n != 3 {
		t.Errorf("%d keys are used", n)
	}
	expect(t, "not used", p.unused, []string{"id_ed25519-cert.pub: does not belong to the key next to it",
		"id_ecdsa-cert.pub: is a host certificate: create user certificates without ssh-keygen -h", "id_rsa-cert.pub: is not a certificate"})
}

// TestKeyTypes logs in on OpenSSH's server, which is the strictest about RSA signatures.
func TestKeyTypes(t *testing.T) {
	rsaPrivate, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaPrivate, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edPrivate := clienttest.NewKey(t)
	for _, test := range []struct {
		name    string
		key     any
		secrets []string
	}{{"rsa", rsaPrivate, []string{"", passphrase}}, {"ecdsa", ecdsaPrivate, []string{""}}, {"ed25519", &edPrivate, []string{""}}} {
		signer, err := ssh.NewSignerFromKey(test.key)
		if err != nil {
			t.Fatal(err)
		}
		s := clienttest.StartOpenSSH(t, signer.PublicKey())
		for _, secret := range test.secrets {
			p := newPerson(t)
			p.answers = []string{passphrase}
			p.options.Files = []string{p.file("key")}
			clienttest.WriteKey(t, p.options.Files[0], test.key, secret)
			dial(t, client.Options{Address: s.Address, User: s.User, Signers: p.load().Signers, HostKey: ssh.FixedHostKey(s.HostKey)})
			if len(p.asked) != len(p.unused)+min(len(secret), 1) {
				t.Errorf("%s: asked %q, not used %q", test.name, p.asked, p.unused)
			}
		}
	}
}

// TestOldEncryption checks encrypted PEM files in the old format, which does not contain the public
// key. It may be in a file next to it.
func TestOldEncryption(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 people have such files
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private), []byte(passphrase), x509.PEMCipherAES128)
	if err != nil || len(block.Bytes)%aes.BlockSize != 0 {
		t.Fatal(err)
	}
	p := newPerson(t)
	if err := os.WriteFile(p.file("id_rsa"), pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	p.answers = []string{passphrase, passphrase, passphrase}
	expect(t, "alone", fingerprints(p.load().Signers...), fingerprints(signer))
	expect(t, "asked", p.asked, []string{"id_rsa false"})

	if err := os.WriteFile(p.file("id_rsa.pub"), ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644); err != nil {
		t.Fatal(err)
	}
	later := p.load().Signers[0]
	expect(t, "asked", p.asked, []string{"id_rsa false"})
	signature, err := later.Sign(rand.Reader, []byte("text"))
	if err != nil || signer.PublicKey().Verify([]byte("text"), signature) != nil {
		t.Errorf("%v", err)
	}
	expect(t, "asked", p.asked, []string{"id_rsa false", "id_rsa false"})

	other, _ := clienttest.NewKey(t)
	if err := os.WriteFile(p.file("id_rsa.pub"), ssh.MarshalAuthorizedKey(other.PublicKey()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.load().Signers[0].Sign(rand.Reader, []byte("text")); err == nil || !bytes.Contains([]byte(err.Error()), []byte("does not match the public key")) {
		t.Errorf("the wrong public key: %v", err)
	}
}
