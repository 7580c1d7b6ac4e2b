package gateway

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
	"github.com/ttydrain/ttydrain/schema"
)

// turning is a public key that changes: it is one key while the client asks about it (which
// marshals it twice, to ask and to compare the response), and another one for signing.
type turning struct {
	ssh.PublicKey
	asked ssh.PublicKey
	count *int
}

func (k turning) Marshal() []byte {
	if *k.count++; *k.count <= 2 {
		return k.asked.Marshal()
	}
	return k.PublicKey.Marshal()
}

type turningSigner struct {
	ssh.AlgorithmSigner
	asked ssh.PublicKey
	count *int
}

func (s turningSigner) PublicKey() ssh.PublicKey {
	return turning{s.AlgorithmSigner.PublicKey(), s.asked, s.count}
}

// TestIdentityIsSigner asks about one user's key, and then signs with another's.
func TestIdentityIsSigner(t *testing.T) {
	who := make(chan string, 1)
	s := serve(t, runs(func(_ context.Context, req session.Request, _ session.IO) (session.Exit, error) {
		who <- req.User.Name
		return session.Exit{}, nil
	}))
	stranger, _ := newKey(t)
	for _, test := range []struct {
		app          string
		asked, signs ssh.Signer
		want         string
	}{
		{"web", s.ada, s.bob, "Bob"},
		{"web", s.bob, s.ada, "Ada"},
		{"web", s.ada, stranger, ""},
		{"api", s.bob, s.ada, ""},
	} {
		count := 0
		signer := turningSigner{test.signs.(ssh.AlgorithmSigner), test.asked.PublicKey(), &count}
		client, err := ssh.Dial("tcp", s.address, s.clientConfig(test.app, signer))
		if count != 3 {
			t.Fatalf("the client did not ask about one key and sign with another (%d)", count)
		}
		if test.want == "" {
			if err == nil {
				t.Errorf("%s: logged in", test.app)
				client.Close()
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ch, requests := raw(t, client)
		go ssh.DiscardRequests(requests)
		ch.SendRequest("shell", true, nil)
		if name := wait(t, who, "the session"); name != test.want {
			t.Errorf("signed by %s, taken for %s", test.want, name)
		}
		client.Close()
	}
}

func TestOtherLogins(t *testing.T) {
	s := serve(t, sessiontest.NewShells())
	config := s.clientConfig("web")
	config.Auth = []ssh.AuthMethod{
		ssh.Password("x"),
		ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			t.Error("the client was asked")
			return make([]string, len(questions)), nil
		}),
	}
	if client, err := ssh.Dial("tcp", s.address, config); err == nil {
		client.Close()
		t.Error("logged in without a key")
	}
	// A certificate of an allowed key is not the key.
	cert := &ssh.Certificate{Key: s.ada.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"web"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(zeros{}, s.ada); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, s.ada)
	if err != nil {
		t.Fatal(err)
	}
	if client, err := ssh.Dial("tcp", s.address, s.clientConfig("web", signer)); err == nil {
		client.Close()
		t.Error("logged in with a certificate")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAuthTries(t *testing.T) {
	s := serve(t, sessiontest.NewShells(), func(o *Options) { o.Limits.MaxAuthTries = 3 })
	keys := make([]ssh.Signer, 4)
	for i := range keys {
		keys[i], _ = newKey(t)
	}
	_, err := ssh.Dial("tcp", s.address, s.clientConfig("web", append(keys, s.ada)...))
	if err == nil || !strings.Contains(err.Error(), "too many authentication failures") {
		t.Errorf("with the right key last: %v", err)
	}
}

// changing is an Authorizer that can be replaced.
type changing struct{ atomic.Pointer[people] }

func (c *changing) Apps() []string { return c.Load().Apps() }

func (c *changing) Authorize(login Login) (Grant, error) { return c.Load().Authorize(login) }

func (c *changing) Admit(_ context.Context, login Login, _ string) (Grant, error) {
	return c.Load().Authorize(login)
}

// TestAdmitEachSession changes the users of an app during a connection.
func TestAdmitEachSession(t *testing.T) {
	ran := make(chan schema.User, 1)
	authorizer := new(changing)
	s := serve(t, runs(func(_ context.Context, req session.Request, _ session.IO) (session.Exit, error) {
		ran <- req.User
		return session.Exit{}, nil
	}), func(o *Options) {
		people := o.Authorizer.(people)
		authorizer.Store(&people)
		o.Authorizer = authorizer
	})
	ada, bob := string(s.ada.PublicKey().Marshal()), string(s.bob.PublicKey().Marshal())
	client := s.dial("web", s.ada)
	for _, test := range []struct {
		name string
		now  people
		want string // the name of the session's user
	}{
		{"nothing has changed", *authorizer.Load(), "Ada"},
		{"the key is gone, and the person has another one", people{"web": {bob: {ID: "u-1", Name: "Ada"}}}, ""},
		{"the person has lost the app", people{"web": {}, "api": {ada: {ID: "u-1", Name: "Ada"}}}, ""},
		{"the key now belongs to another user", people{"web": {ada: {ID: "u-2", Name: "Bob"}}}, ""},
		{"the person has another name", people{"web": {ada: {ID: "u-1", Name: "Ada King"}}}, "Ada King"},
	} {
		t.Run(test.name, func(t *testing.T) {
			authorizer.Store(&test.now)
			sess, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			defer sess.Close()
			var stderr bytes.Buffer
			sess.Stderr = &stderr
			err = sess.Run("true")
			if test.want == "" {
				exit, ok := errors.AsType[*ssh.ExitError](err)
				if !ok || exit.ExitStatus() != 255 || !strings.Contains(stderr.String(), "with the key that you logged in with") {
					t.Errorf("%v: %s", err, &stderr)
				}
				select {
				case user := <-ran:
					t.Errorf("a session of %+v ran", user)
				default:
				}
				return
			}
			if user := wait(t, ran, "the session"); err != nil || user != (schema.User{ID: "u-1", Name: test.want}) {
				t.Errorf("a session of %+v ran: %v", user, err)
			}
		})
	}
}
