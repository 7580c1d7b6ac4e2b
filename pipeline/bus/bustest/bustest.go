// Package bustest runs NATS servers by the configuration files for operators, in the folder nats beside it, for tests.
package bustest

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// Users are the names of the NATS users in the configuration files.
func Users() []string { return []string{"gateway", "enrich", "router", "admin"} }

// A Server is a NATS server that demands TLS with a client certificate.
type Server struct {
	*server.Server
	URL string
	// CAFile, CertFile and KeyFile are for its clients.
	CAFile, CertFile, KeyFile string
	// Seeds are the files of the users' NKey seeds, Passwords their passwords, by name.
	Seeds, Passwords map[string]string
	// Permissions are the users', by name.
	Permissions map[string]*server.Permissions

	log serverLog
}

// Start runs a server by a configuration file until the test ends. change is called with what the file says; nil
// leaves it as it is. The file takes the environment: tests that start servers are not parallel.
func Start(t testing.TB, file string, change func(*Server, *server.Options)) *Server {
	t.Helper()
	authority := sinktest.NewAuthority(t)
	s := &Server{CAFile: authority.File, Seeds: make(map[string]string), Passwords: make(map[string]string), Permissions: make(map[string]*server.Permissions)}
	until := time.Now().Add(24 * time.Hour)
	cert, key := authority.Issue(t, until, "127.0.0.1")
	s.CertFile, s.KeyFile = authority.Issue(t, until)
	for name, value := range map[string]string{
		"LISTEN": "127.0.0.1:-1", // any free port
		"STORE":  t.TempDir(), "CERT": cert, "KEY": key, "CA": authority.File,
	} {
		t.Setenv("TTYDRAIN_NATS_"+name, value)
	}
	users := make(map[string]string) // by what the file says of them
	dir := t.TempDir()
	for _, user := range Users() {
		public, seed := newNKey(t)
		s.Seeds[user] = filepath.Join(dir, user+".nk")
		if err := os.WriteFile(s.Seeds[user], seed, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Passwords[user] = rand.Text()
		t.Setenv("TTYDRAIN_"+strings.ToUpper(user)+"_NKEY", public)
		t.Setenv("TTYDRAIN_"+strings.ToUpper(user)+"_PASSWORD", s.Passwords[user])
		users[public], users[user] = user, user
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range options.Users {
		s.Permissions[users[u.Username]] = u.Permissions
	}
	for _, u := range options.Nkeys {
		s.Permissions[users[u.Nkey]] = u.Permissions
	}
	if change != nil {
		change(s, options)
	}
	s.run(t, options)
	return s
}

func newNKey(t testing.TB) (public string, seed []byte) {
	t.Helper()
	pair, public := newKey(t, nkeys.CreateUser)
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return public, seed
}

func (s *Server) run(t testing.TB, options *server.Options) {
	t.Helper()
	options.NoSigs = true
	var err error
	if s.Server, err = server.NewServer(options); err != nil {
		t.Fatal(err)
	}
	s.SetLoggerV2(&s.log, false, false, false)
	go s.Server.Start() // ends with the test
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server did not start")
	}
	s.URL = strings.Replace(s.ClientURL(), "nats://", "tls://", 1)
}

// Refused is what the server has refused, in its words.
func (s *Server) Refused() []string {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Clone(s.log.refused)
}

// serverLog keeps what was refused.
type serverLog struct {
	mu      sync.Mutex // guards refused
	refused []string
}

func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.Contains(text, "Violation") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refused = append(l.refused, text)
	}
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Warnf(string, ...any)   {}
func (l *serverLog) Fatalf(string, ...any)  {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}
