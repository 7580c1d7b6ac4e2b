// Package bustest runs NATS servers for tests, with the operators' configuration files in the
// folder nats.
package bustest

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// Users returns the names of the NATS users in the configuration files.
func Users() []string { return []string{"gateway", "enrich", "router", "admin"} }

// Server is a NATS server that requires TLS with a client certificate.
type Server struct {
	*server.Server
	URL string
	// CAFile, CertFile and KeyFile are for its clients.
	CAFile, CertFile, KeyFile string
	// Seeds are the files of the users' NKey seeds, Passwords their passwords, by name.
	Seeds, Passwords map[string]string
	// Permissions are those of the users, by name.
	Permissions map[string]*server.Permissions
	// Environment holds the environment variables of the configuration file, by name. [Start]
	// writes their values into a copy of the file.
	Environment map[string]string

	log serverLog
}

// Start runs a server with a configuration file until the test ends. change, unless nil, may modify
// the options from the file.
func Start(t testing.TB, file string, change func(*Server, *server.Options)) *Server {
	t.Helper()
	authority := sinktest.NewAuthority(t)
	s := &Server{CAFile: authority.File, Seeds: make(map[string]string), Passwords: make(map[string]string), Permissions: make(map[string]*server.Permissions)}
	until := time.Now().Add(24 * time.Hour)
	cert, key := authority.Issue(t, until, "127.0.0.1")
	s.CertFile, s.KeyFile = authority.Issue(t, until)
	s.Environment = map[string]string{
		"TTYDRAIN_NATS_LISTEN": "127.0.0.1:-1", // any free port
		"TTYDRAIN_NATS_STORE":  t.TempDir(), "TTYDRAIN_NATS_CERT": cert, "TTYDRAIN_NATS_KEY": key, "TTYDRAIN_NATS_CA": authority.File,
	}
	users := make(map[string]string) // by their identification in the file
	dir := t.TempDir()
	for _, user := range Users() {
		public, seed := newNKey(t)
		s.Seeds[user] = filepath.Join(dir, user+".nk")
		if err := os.WriteFile(s.Seeds[user], seed, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Passwords[user] = rand.Text()
		s.Environment["TTYDRAIN_"+strings.ToUpper(user)+"_NKEY"] = public
		s.Environment["TTYDRAIN_"+strings.ToUpper(user)+"_PASSWORD"] = s.Passwords[user]
		users[public], users[user] = user, user
	}
	options, err := server.ProcessConfigFile(withValues(t, file, s.Environment))
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

// environmentName matches a variable of the environment, or of the file itself, in a configuration
// file.
var environmentName = regexp.MustCompile(`\$\w+`)

// withValues copies the folder of a configuration file, which contains the files that it includes,
// with values instead of environment variables, and returns the copied file. The environment is
// shared by the whole process: this allows parallel tests that start servers.
func withValues(t testing.TB, file string, environment map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = environmentName.ReplaceAllFunc(text, func(name []byte) []byte {
			if value, ok := environment[string(name[1:])]; ok {
				return strconv.AppendQuote(nil, value)
			}
			return name
		})
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.Base(file))
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

// Refused returns the server's messages about refused requests.
func (s *Server) Refused() []string {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Clone(s.log.refused)
}

// serverLog collects refusals.
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
