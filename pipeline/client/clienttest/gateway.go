// Package clienttest has what tests of SSH clients need: a gateway whose sessions are plain local
// shells, OpenSSH's server, key files, and a terminal to run a client in.
package clienttest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// Patience is how long a test waits for what must come. Nothing is concluded from it but failure.
const Patience = 30 * time.Second

// App is the one app of a Gateway.
const App = "web"

// A Gateway is a real gateway with sessions that are local shells.
type Gateway struct {
	Address  string
	HostKeys []ssh.Signer
	// Requests has each session's request when its program runs.
	Requests <-chan session.Request
	// Causes has why a session's context was cancelled.
	Causes <-chan error
}

// StartGateway starts a gateway that lets the keys in, and stops it at the end of the test. Without
// host keys it has one of its own.
func StartGateway(t testing.TB, people []ssh.PublicKey, hostKeys ...ssh.Signer) *Gateway {
	t.Helper()
	if len(hostKeys) == 0 {
		key, _ := NewKey(t)
		hostKeys = append(hostKeys, key)
	}
	sessions := &shells{requests: make(chan session.Request, 64), causes: make(chan error, 64)}
	g, err := gateway.New(gateway.Options{
		HostKeys: hostKeys, Authorizer: authorizer(people), Sessions: sessions,
		AcceptEnv: []string{"LANG", "LC_*"}, Log: slog.New(slog.DiscardHandler), StopTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { // ends with stop
		defer close(served)
		if err := g.Serve(ctx, l); err != nil {
			t.Errorf("gateway: %v", err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-served
	})
	return &Gateway{Address: l.Addr().String(), HostKeys: hostKeys, Requests: sessions.requests, Causes: sessions.causes}
}

type authorizer []ssh.PublicKey

func (a authorizer) Authorize(login gateway.Login) (gateway.Grant, error) {
	for _, known := range a {
		if login.App == App && string(known.Marshal()) == string(login.Key.Marshal()) {
			return gateway.Grant{User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}}, nil
		}
	}
	return gateway.Grant{}, errors.New("not one of the keys")
}

func (a authorizer) Apps() []string { return []string{App, "other"} }

func (a authorizer) Admit(_ context.Context, login gateway.Login, _ string) (gateway.Grant, error) {
	return a.Authorize(login)
}

// NewKey makes a key.
func NewKey(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, private
}

// WriteKey writes a private key as OpenSSH does, encrypted where the passphrase is not "".
func WriteKey(t testing.TB, file string, private any, passphrase string) {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Wait receives, or fails the test.
func Wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Patience):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}
