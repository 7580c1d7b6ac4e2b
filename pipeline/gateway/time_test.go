package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// The tests of this file run in synctest bubbles: time passes only when every goroutine is blocked,
// and a test fails if a goroutine is left at its end.

// memoryListener returns connections in memory, which a bubble needs.
type memoryListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// dial returns the client's end. Its writes do not block, because both ends of SSH start with one.
func (l *memoryListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	c := &patientConn{Conn: client, queue: make(chan []byte, 1024), done: make(chan struct{})}
	go func() { // ends with the connection
		for {
			select {
			case p := <-c.queue:
				c.Conn.Write(p)
			case <-c.done:
				return
			}
		}
	}()
	return c
}

type patientConn struct {
	net.Conn
	queue chan []byte
	once  sync.Once
	done  chan struct{}
}

func (c *patientConn) Write(p []byte) (int, error) {
	select {
	case c.queue <- append([]byte(nil), p...):
		return len(p), nil
	case <-c.done:
		return 0, net.ErrClosed
	}
}

func (c *patientConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

func (s *stand) dialMemory(t testing.TB, l *memoryListener) *ssh.Client {
	t.Helper()
	conn, channels, requests, err := ssh.NewClientConn(l.dial(), "memory", s.clientConfig("web", s.ada))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(conn, channels, requests)
}

// TestSilentClient: a client that sends nothing is disconnected after the login grace time, not
// before.
func TestSilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sessiontest.NewShells(), func(o *Options) { o.Limits.LoginGraceTime = 7 * time.Second })
		l := newMemoryListener()
		s.start(l)
		began := time.Now()
		c := l.dial()
		text, err := io.ReadAll(c)
		if err != nil || string(text) != "SSH-2.0-OpenSSH_9.9 ttydrain\r\n" {
			t.Errorf("got %q, %v", text, err)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("closed after %s", took)
		}
		c.Close()
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowLogin: a user has the login grace time, from the start of the connection.
func TestSlowLogin(t *testing.T) {
	for _, test := range []struct {
		name  string
		think time.Duration
		ok    bool
	}{{"in time", 119 * time.Second, true}, {"late", 121 * time.Second, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sessiontest.NewShells())
				l := newMemoryListener()
				s.start(l)
				config := s.clientConfig("web")
				config.Auth = []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
					time.Sleep(test.think) // the user enters the passphrase, in the bubble's time
					return []ssh.Signer{s.ada}, nil
				})}
				c := l.dial()
				conn, channels, requests, err := ssh.NewClientConn(c, "memory", config)
				if (err == nil) != test.ok {
					t.Errorf("login: %v", err)
				}
				if err == nil {
					go ssh.DiscardRequests(requests)
					go func() {
						for range channels {
						}
					}()
					// After the login, the grace time no longer applies.
					time.Sleep(9 * time.Minute)
					if _, _, err := conn.SendRequest("keepalive@openssh.com", true, nil); err != nil {
						t.Errorf("after nine minutes: %v", err)
					}
					conn.Close()
				}
				c.Close()
				if err := s.end(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestStop covers every stage of a connection at a stop. None needs the timeout of the stop.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		s := newStand(t, runs(func(ctx context.Context, _ session.Request, client session.IO) (session.Exit, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			time.Sleep(3 * time.Second) // the time that it needs to clean up
			io.WriteString(client.Stdout, "bye\n")
			return session.Exit{Status: 7, Reason: session.ReasonShutdown}, nil
		}))
		l := newMemoryListener()
		s.start(l)
		silent := l.dial()
		idle := s.dialMemory(t, l)
		waiting := s.dialMemory(t, l)
		unstarted, unstartedRequests, err := waiting.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		busy := s.dialMemory(t, l)
		sess, err := busy.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		stdout, _ := sess.StdoutPipe()
		if err := sess.Start("x"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		began := time.Now()
		s.stop()
		synctest.Wait()
		if cause := <-causes; !errors.Is(cause, session.ErrShutdown) {
			t.Errorf("cause %v", cause)
		}
		if idle.Wait() == nil {
			t.Error("the idle connection was not closed")
		}
		if _, err := io.Copy(io.Discard, silent); err != nil {
			t.Errorf("the silent connection: %v", err)
		}
		if _, _, err := busy.OpenChannel("session", nil); err == nil || !strings.Contains(err.Error(), stopping) {
			t.Errorf("a new session: %v", err)
		}
		if text, _ := io.ReadAll(unstarted.Stderr()); string(text) != "ttydrain: "+stopping+"\n" {
			t.Errorf("the session that had not started got %q", text)
		}
		for req := range unstartedRequests {
			if req.Type != "exit-status" {
				t.Errorf("request %s", req.Type)
			}
		}
		if text, _ := io.ReadAll(stdout); string(text) != "bye\n" {
			t.Errorf("the session got %q", text)
		}
		if exit, ok := errors.AsType[*ssh.ExitError](sess.Wait()); !ok || exit.ExitStatus() != 7 {
			t.Errorf("exit %v", exit)
		}
		if err := <-s.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the stop took %s", took)
		}
		for _, c := range []io.Closer{silent, idle, waiting, busy} {
			c.Close()
		}
	})
}

// TestForcedStop: a client that reads nothing blocks its session until the timeout of the stop.
func TestForcedStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, runs(func(_ context.Context, _ session.Request, client session.IO) (session.Exit, error) {
			for {
				if _, err := client.Stdout.Write(make([]byte, 32<<10)); err != nil {
					return session.Exit{}, session.ErrDisconnected
				}
			}
		}), func(o *Options) { o.StopTimeout = 4 * time.Second })
		l := newMemoryListener()
		s.start(l)
		client := s.dialMemory(t, l)
		ch, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		ch.SendRequest("shell", true, nil)
		synctest.Wait()
		began := time.Now()
		err = s.end()
		if err == nil || !strings.Contains(err.Error(), "1 connections with 1 sessions") {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if log := s.log.String(); !strings.Contains(log, "connections=1 sessions=1") {
			t.Errorf("log:\n%s", log)
		}
		client.Close()
	})
}

// TestStubbornSession: a session that does not end does not block Serve for ever.
func TestStubbornSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newStand(t, runs(func(context.Context, session.Request, session.IO) (session.Exit, error) {
			<-release
			return session.Exit{}, nil
		}), func(o *Options) { o.StopTimeout = 4 * time.Second })
		l := newMemoryListener()
		s.start(l)
		client := s.dialMemory(t, l)
		ch, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		ch.SendRequest("shell", true, nil)
		began := time.Now()
		if err := s.end(); err == nil || !strings.Contains(err.Error(), "1 sessions continue") {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(began); took != 4*time.Second+forcedGrace {
			t.Errorf("the stop took %s", took)
		}
		close(release)
		client.Close()
	})
}

// TestSlowClient: a slow client blocks the program, with bounded memory.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written atomic.Int64
		s := newStand(t, runs(func(_ context.Context, _ session.Request, client session.IO) (session.Exit, error) {
			for range 1024 {
				n, err := client.Stdout.Write(make([]byte, 16<<10))
				written.Add(int64(n))
				if err != nil {
					return session.Exit{}, err
				}
			}
			return session.Exit{}, nil
		}))
		l := newMemoryListener()
		s.start(l)
		client := s.dialMemory(t, l)
		ch, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		ch.SendRequest("shell", true, nil)
		synctest.Wait() // until the program is blocked permanently
		if n := written.Load(); n == 0 || n > 2<<20 {
			t.Errorf("%d bytes went out to a client that reads none", n)
		}
		if n, err := io.Copy(io.Discard, ch); n != 16<<20 || err != nil {
			t.Errorf("then it took %d bytes, %v", n, err)
		}
		client.Close()
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeepalive: a client that does not respond is disconnected after being silent for exactly the
// deadline, but not while it sends anything, even without responding.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		s := newStand(t, runs(func(ctx context.Context, _ session.Request, _ session.IO) (session.Exit, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return session.Exit{}, context.Cause(ctx)
		}), func(o *Options) { o.KeepaliveInterval, o.KeepaliveCount = 10*time.Second, 3 })
		l := newMemoryListener()
		s.start(l)
		conn, channels, requests, err := ssh.NewClientConn(l.dial(), "memory", s.clientConfig("web", s.ada))
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the connection
			for range channels {
			}
		}()
		ch, own, err := conn.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(own)
		if ok, err := ch.SendRequest("shell", true, nil); !ok || err != nil {
			t.Fatal(ok, err)
		}
		asked := make(chan time.Time, 100)
		go func() { // accepts the gateway's requests without responding
			for range requests {
				asked <- time.Now()
			}
		}()
		for range 10 {
			time.Sleep(25 * time.Second)
			ch.Write([]byte("x"))
		}
		spoke := time.Now()
		select {
		case cause := <-causes:
			if !errors.Is(cause, session.ErrDisconnected) {
				t.Errorf("the session ended because of %v", cause)
			}
		case <-time.After(time.Hour):
		}
		if after := time.Since(spoke); after != 30*time.Second {
			t.Errorf("cut off after %s", after)
		}
		conn.Close()
		if !strings.Contains(s.log.String(), "connection cut: the client is silent") {
			t.Error("the log has no reason")
		}
		if len(asked) != 1 {
			t.Errorf("asked %d times with one question open", len(asked))
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}
