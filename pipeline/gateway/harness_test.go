package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// patience is the timeout of expected events. Exceeding it only ever fails a test.
const patience = 30 * time.Second

// runs is a Sessions implemented by a function.
type runs func(context.Context, session.Request, session.IO) (session.Exit, error)

func (r runs) Run(ctx context.Context, req session.Request, io session.IO) (session.Exit, error) {
	return r(ctx, req, io)
}

// people maps an app to its users, by key.
type people map[string]map[string]schema.User

func (p people) Authorize(login Login) (Grant, error) {
	user, ok := p[login.App][string(login.Key.Marshal())]
	if !ok {
		return Grant{}, errors.New("not one of the people")
	}
	return Grant{User: user}, nil
}

func (p people) Apps() []string { return slices.Sorted(maps.Keys(p)) }

// Admit accepts no token.
func (p people) Admit(_ context.Context, login Login, _ string) (Grant, error) {
	return p.Authorize(login)
}

func newKey(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
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

// A stand is a gateway under test. Ada may use "web"; Bob may use "web" and "api"; nobody may use
// "door".
type stand struct {
	*Gateway
	t        testing.TB
	address  string
	host     ssh.Signer
	ada, bob ssh.Signer
	adaKey   ed25519.PrivateKey
	bobKey   ed25519.PrivateKey
	log      *lockedBuffer
	stop     context.CancelFunc
	served   chan error // the result of Serve
}

func newStand(t testing.TB, sessions Sessions, change ...func(*Options)) *stand {
	t.Helper()
	s := &stand{t: t, log: new(lockedBuffer), served: make(chan error, 1)}
	s.host, _ = newKey(t)
	s.ada, s.adaKey = newKey(t)
	s.bob, s.bobKey = newKey(t)
	ada, bob := string(s.ada.PublicKey().Marshal()), string(s.bob.PublicKey().Marshal())
	options := Options{
		HostKeys: []ssh.Signer{s.host},
		Authorizer: people{
			"web":  {ada: {ID: "u-1", Name: "Ada"}, bob: {ID: "u-2", Name: "Bob"}},
			"api":  {bob: {ID: "u-2", Name: "Bob"}},
			"door": {},
		},
		Sessions:  sessions,
		AcceptEnv: []string{"LC_*", "EDITOR"},
		Log:       slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&options)
	}
	g, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Gateway = g
	return s
}

// serve starts the gateway on a TCP port. At the end of the test it must stop cleanly and leave no
// goroutines.
func serve(t *testing.T, sessions Sessions, change ...func(*Options)) *stand {
	t.Helper()
	s := newStand(t, sessions, change...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.start(l)
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		noneLeft(t)
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

func (s *stand) start(l net.Listener) {
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		err := s.Serve(ctx, l)
		s.served <- err
		close(s.served)
	}()
}

// end stops the gateway and returns the result of Serve, or nil if a test has already received it.
func (s *stand) end() error {
	s.stop()
	return <-s.served
}

// noneLeft waits until no goroutine of this package or of the SSH library is running.
func noneLeft(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		buf := make([]byte, 1<<20)
		var left []string
		for i, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if i > 0 && (strings.Contains(stack, "pipeline/gateway.(*") || strings.Contains(stack, "x/crypto/ssh.")) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%d goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}
}

// dial logs in with the SSH library's client.
func (s *stand) dial(app string, key ssh.Signer) *ssh.Client {
	s.t.Helper()
	client, err := ssh.Dial("tcp", s.address, s.clientConfig(app, key))
	if err != nil {
		s.t.Fatalf("dial: %v", err)
	}
	s.t.Cleanup(func() { client.Close() })
	return client
}

func (s *stand) clientConfig(app string, keys ...ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:            app,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyCallback: ssh.FixedHostKey(s.host.PublicKey()),
	}
}

// writeKey writes a private key in the form that OpenSSH's client expects.
func writeKey(t testing.TB, key ed25519.PrivateKey) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// wait receives, or fails the test.
func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}

// lockedBuffer is a buffer for several goroutines that can wait for new content.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
