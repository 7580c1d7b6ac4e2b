// Package clienttest supports tests of SSH clients: a gateway whose sessions are local shells,
// OpenSSH's server, key files, and a terminal to run a client in.
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
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
	"github.com/ttydrain/ttydrain/schema"
)

// Patience bounds each wait for an event. Reaching it fails the test.
const Patience = 30 * time.Second

// App is the only app of a [Gateway].
const App = "web"

// Gateway is a gateway whose sessions are local shells.
type Gateway struct {
	Address  string
	HostKeys []ssh.Signer
	// Requests delivers each session's request when its program starts.
	Requests <-chan session.Request
	// Causes delivers the causes for which sessions' contexts were cancelled.
	Causes <-chan error
}

// StartGateway starts a gateway that accepts the users' keys, and stops it at the end of the test.
// If there are no host keys, it creates one.
func StartGateway(t testing.TB, users []ssh.PublicKey, hostKeys ...ssh.Signer) *Gateway {
	t.Helper()
	if len(hostKeys) == 0 {
		key, _ := NewKey(t)
		hostKeys = append(hostKeys, key)
	}
	sessions := sessiontest.NewShells()
	g, err := gateway.New(gateway.Options{
		HostKeys: hostKeys, Authorizer: authorizer(users), Sessions: sessions,
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
	return &Gateway{Address: l.Addr().String(), HostKeys: hostKeys, Requests: sessions.Requests, Causes: sessions.Causes}
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

// NewKey returns a new key.
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

// WriteKey writes a private key in OpenSSH's format, encrypted unless the passphrase is "".
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

// Wait receives a value, or fails the test.
func Wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Patience):
		t.Fatalf("timed out waiting for %s", what)
		panic("not reached")
	}
}
