package availability

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// An Attack uses as many resources of a server as it can get until ctx is done. It comes from one
// address, or from a session.
type Attack struct {
	Name string
	run  func(ctx context.Context, t *target) error
	// operate is the operator's work during the attack.
	operate func(ctx context.Context, g *sharedServer) error
}

// A target is the setup of the process that attacks. Attacks run in a process of their own: in the
// one that measures echoes, the attacker's CPU time would count as a delay of the server.
type target struct {
	Attack         string
	Address, Admin string
	KeyFile        string // of the attacker
	Lasts          time.Duration
	signer         gossh.Signer
}

// AttackerMain is the role of the process that attacks. It answers when the attack is over.
func AttackerMain(in *json.Decoder, out *json.Encoder) error {
	var t target
	if err := in.Decode(&t); err != nil {
		return err
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return err
	}
	if t.signer, err = gossh.ParsePrivateKey(key); err != nil {
		return fmt.Errorf("read the attacker's key: %w", err)
	}
	i := slices.IndexFunc(Attacks(), func(a Attack) bool { return a.Name == t.Attack })
	if i < 0 {
		return fmt.Errorf("unknown attack %q", t.Attack)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.Lasts)
	defer cancel()
	go func() { // ends with the process, at the latest
		in.Decode(new(struct{})) // returns when the parent has ended
		cancel()
	}()
	if err := Attacks()[i].run(ctx, &t); err != nil {
		return err
	}
	return out.Encode(struct{}{})
}

// Attacks returns all attacks.
func Attacks() []Attack {
	return []Attack{
		{"admin/slow-bodies", func(ctx context.Context, t *target) error {
			return holdTCP(ctx, 11_000, t.Admin, "127.0.0.1", "POST /console/login HTTP/1.1\r\nHost: "+t.Admin+
				"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nname=x")
		}, listSessions},
		{"admin/large-headers", func(ctx context.Context, t *target) error {
			return holdTCP(ctx, 500, t.Admin, "127.0.0.1", "GET /healthz HTTP/1.1\r\nHost: "+t.Admin+"\r\n"+strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 1000))
		}, listSessions},
		{"admin/wrong-tokens", wrongTokens, consoleLogin},
		{"ssh/silent", func(ctx context.Context, t *target) error { return holdTCP(ctx, 2_000, t.Address, "127.0.0.2", "") }, listSessions},
		{"ssh/after-key-exchange", func(ctx context.Context, t *target) error { return holdLogins(ctx, t, 500) }, listSessions},
		{"ssh/idle-connections", func(ctx context.Context, t *target) error { return holdConnections(ctx, t, 5_000) }, listSessions},
		{"session/output", func(ctx context.Context, t *target) error {
			return attackFromSession(ctx, t, "exec yes 'a line that fills the store'")
		}, listSessions},
		{"session/processes", func(ctx context.Context, t *target) error {
			return attackFromSession(ctx, t, "while :; do sleep 1000 & done 2>/dev/null")
		}, listSessions},
	}
}

// attackersAtOnce is the number of connections that an attack opens concurrently.
const attackersAtOnce = 64

// from returns a dialer that uses one of the machine's own addresses.
func from(address string) *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
}

// occupy keeps n connections open, which connect opens, and replaces those that end, until ctx is
// done.
func occupy(ctx context.Context, n int, connect func() (io.Closer, <-chan struct{}, error)) error {
	var g errgroup.Group
	slots := make(chan struct{}, attackersAtOnce)
	for range n {
		g.Go(func() error { // ends with ctx
			for ctx.Err() == nil {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return nil
				}
				c, ended, err := connect()
				<-slots
				if err != nil {
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
					continue
				}
				select {
				case <-ended:
				case <-ctx.Done():
				}
				c.Close()
			}
			return nil
		})
	}
	return g.Wait()
}

// holdTCP keeps TCP connections open that send nothing after the first bytes.
func holdTCP(ctx context.Context, n int, address, source, first string) error {
	return occupy(ctx, n, func() (io.Closer, <-chan struct{}, error) {
		c, err := from(source).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, nil, err
		}
		ended := make(chan struct{})
		go func() { // ends with the connection, which ctx closes
			defer close(ended)
			io.WriteString(c, first)
			io.Copy(io.Discard, c)
		}()
		return c, ended, nil
	})
}

// dialAttacker opens an SSH connection from the attacker's address.
func dialAttacker(ctx context.Context, t *target, auth ...gossh.AuthMethod) (*gossh.Client, error) {
	c, err := from("127.0.0.2").DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	conn, channels, requests, err := gossh.NewClientConn(c, t.Address, &gossh.ClientConfig{User: "other", Auth: auth, HostKeyCallback: gossh.InsecureIgnoreHostKey()})
	if err != nil {
		c.Close()
		return nil, err
	}
	return gossh.NewClient(conn, channels, requests), nil
}

// holdLogins keeps connections open that have exchanged keys and do not log in.
func holdLogins(ctx context.Context, t *target, n int) error {
	return occupy(ctx, n, func() (io.Closer, <-chan struct{}, error) {
		_, err := dialAttacker(ctx, t, gossh.PublicKeysCallback(func() ([]gossh.Signer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		return nil, nil, err
	})
}

// holdConnections keeps connections open that have logged in and open no session.
func holdConnections(ctx context.Context, t *target, n int) error {
	return occupy(ctx, n, func() (io.Closer, <-chan struct{}, error) {
		c, err := dialAttacker(ctx, t, gossh.PublicKeys(t.signer))
		if err != nil {
			return nil, nil, err
		}
		ended := make(chan struct{})
		go func() { // ends with the connection, which ctx closes
			defer close(ended)
			c.Wait()
		}()
		return c, ended, nil
	})
}

// attackFromSession runs a command in a session without a terminal and reads all of its output. It
// restarts the command when it ends.
func attackFromSession(ctx context.Context, t *target, command string) error {
	return occupy(ctx, 1, func() (io.Closer, <-chan struct{}, error) {
		c, err := dialAttacker(ctx, t, gossh.PublicKeys(t.signer))
		if err != nil {
			return nil, nil, err
		}
		s, err := c.NewSession()
		if err != nil {
			c.Close()
			return nil, nil, err
		}
		s.Stdout, s.Stderr = io.Discard, io.Discard
		ended := make(chan struct{})
		go func() { // ends with the connection, which ctx closes
			defer close(ended)
			s.Run(command)
		}()
		return c, ended, nil
	})
}

// wrongTokens tries wrong tokens at the console and the API from the operator's address.
func wrongTokens(ctx context.Context, t *target) error {
	for ctx.Err() == nil {
		for _, path := range []string{"/console/login", "/api/v1/sessions"} {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.Admin+path, strings.NewReader("name=x&token=wrong"))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			request.Header.Set("Authorization", "Bearer wrong")
			if answer, err := http.DefaultClient.Do(request); err == nil {
				answer.Body.Close()
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// consoleLogin logs the operator in to the console.
func consoleLogin(ctx context.Context, g *sharedServer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	form := url.Values{"name": {"Operator"}, "token": {g.token}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.admin+"/console/login", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/console/" {
		return fmt.Errorf("the console answered %s", answer.Status)
	}
	return nil
}
