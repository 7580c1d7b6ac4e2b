package bus

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// TestConnectErrors: errors that prevent a connection include a remedy.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	s := serve(t, "nats/nkeys.conf", nil)
	passwords := serve(t, "nats/passwords.conf", nil)
	other := sinktest.NewAuthority(t)
	otherCert, otherKey := other.Issue(t, time.Now().Add(time.Hour))
	seed := func(text string) string {
		file := filepath.Join(t.TempDir(), "seed")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	with := func(change func(*Options)) Options {
		o := options(s, "gateway", RoleGateway)
		change(&o)
		return o
	}
	tls := func(ca, cert, key string) Options {
		return with(func(o *Options) { o.TLS = clientTLS(&bustest.Server{CAFile: ca, CertFile: cert, KeyFile: key}) })
	}
	open, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go open.Start() // ends with the test
	t.Cleanup(func() { open.Shutdown(); open.WaitForShutdown() })
	if !open.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start")
	}
	for name, test := range map[string]struct {
		options Options
		want    []string
	}{
		"the authority is another":        {tls(other.File, s.CertFile, s.KeyFile), []string{"unknown authority", "nats.ca_file"}},
		"no client certificate":           {tls(s.CAFile, "", ""), []string{"nats.cert_file", "nats.key_file"}},
		"a client certificate of another": {tls(s.CAFile, otherCert, otherKey), []string{"nats.cert_file", "nats.key_file"}},
		"another host name": {with(func(o *Options) { o.URL = strings.Replace(o.URL, "127.0.0.1", "localhost", 1) }),
			[]string{"localhost", "nats.server_name"}},
		"TLS is demanded": {with(func(o *Options) { o.URL, o.TLS = strings.Replace(o.URL, "tls:", "nats:", 1), nil }), []string{"nats.ca_file"}},
		"there is no TLS": {with(func(o *Options) { o.URL, o.NKeySeedFile = strings.Replace(open.ClientURL(), "nats:", "tls:", 1), "" }), []string{"does not use TLS"}},
		"another NKey":    {with(func(o *Options) { o.NKeySeedFile = seed(string(seedOf(t))) }), []string{"does not accept", "nkey_seed_file"}},
		"no seed":         {with(func(o *Options) { o.NKeySeedFile = seed("SUSECRET") }), []string{"NKey seed of a user", "SU"}},
		"no file":         {with(func(o *Options) { o.NKeySeedFile = "none" }), []string{"none", "no such file"}},
		"no credentials":  {with(func(o *Options) { o.NKeySeedFile, o.CredentialsFile = "", "none" }), []string{"none", "nats.credentials_file"}},
		"another password": {with(func(o *Options) {
			*o = options(passwords, "", 0)
			o.NKeySeedFile, o.Username, o.Password = "", "gateway", "hunter2"
		}), []string{"does not accept", "password"}},
		"nothing is shown":    {with(func(o *Options) { o.NKeySeedFile = "" }), []string{"does not accept"}},
		"nothing listens":     {with(func(o *Options) { o.URL = "tls://127.0.0.1:1" }), []string{"is the NATS server running", "nats.url"}},
		"NKeys are not known": {with(func(o *Options) { o.URL, o.TLS = open.ClientURL(), nil }), []string{"no users with NKeys"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Open(t.Context(), test.options)
			if err == nil {
				b.Close()
				t.Fatal("it connected")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "SUSECRET") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
}

// seedOf returns the seed of a user that is unknown to all servers.
func seedOf(t *testing.T) []byte {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// TestCredentials connects with JWTs of an operator, whose users have the permissions of the
// configuration file, and changes the credentials while connected.
func TestCredentials(t *testing.T) {
	t.Parallel()
	o := bustest.NewOperator(t)
	s := bustest.Start(t, "nats/nkeys.conf", o.Trusted)
	file := filepath.Join(t.TempDir(), "user.creds")
	as := func(user string, role Role) Options {
		settings := options(s, user, role)
		settings.NKeySeedFile, settings.CredentialsFile = "", file
		return settings
	}
	o.Credentials(t, file, s.Permissions["admin"])
	if _, err := Apply(t.Context(), as("admin", 0)); err != nil {
		t.Fatal(err)
	}
	first := o.Credentials(t, file, s.Permissions["gateway"])
	refused := make(chan struct{}, 1000)
	settings := as("gateway", RoleGateway)
	settings.Log = slog.New(logged{slog.DiscardHandler, func(r slog.Record) {
		r.Attrs(func(a slog.Attr) bool {
			if strings.Contains(a.Value.String(), "does not accept these credentials") {
				refused <- struct{}{}
			}
			return true
		})
	}})
	b, err := Open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.CreateOperation(t.Context(), newOperation()); err != nil {
		t.Error(err)
	}
	if _, err := b.PublishChunk("logs.0.default.web.1", "", nil).Wait(t.Context()); !errors.As(err, new(*RefusedError)) {
		t.Errorf("the gateway wrote to LOGS: %v", err)
	}

	if who := connectedAs(t, s); who != first {
		t.Fatalf("connected as %s, and not as %s", who, first)
	}
	// While they belong to another operator, they are refused more than once, and it keeps trying.
	bustest.NewOperator(t).Credentials(t, file, s.Permissions["gateway"])
	reconnected := disconnect(t, s, b)
	for range 3 {
		select {
		case <-refused:
		case <-time.After(time.Minute):
			t.Fatal("the credentials of another operator are not refused")
		}
	}
	if err := b.Ready(t.Context()); err == nil {
		t.Error("it is ready without a connection")
	}
	second := o.Credentials(t, file, s.Permissions["gateway"])
	reconnected()
	if who := connectedAs(t, s); who != second {
		t.Errorf("connected again as %s, and not as %s", who, second)
	}
	if err := b.CreateOperation(t.Context(), newOperation()); err != nil {
		t.Error(err)
	}
}

// connectedAs returns the NKey of the only client of a server.
func connectedAs(t *testing.T, s *bustest.Server) string {
	t.Helper()
	z, err := s.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(z.Conns) != 1 {
		t.Fatalf("%d clients", len(z.Conns))
	}
	claims, err := jwt.DecodeUserClaims(z.Conns[0].JWT)
	if err != nil {
		data, _ := json.Marshal(z.Conns[0])
		t.Fatalf("%v in %s", err, data)
	}
	return claims.Subject
}

// disconnect closes the connection of a bus. The returned function waits until the bus has
// reconnected.
func disconnect(t *testing.T, s *bustest.Server, b *Bus) (reconnected func()) {
	t.Helper()
	before := b.conn.Stats().Reconnects
	id, err := b.conn.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DisconnectClientByID(id); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		waittest.Until(t, "a connection again", func() bool { return b.conn.Stats().Reconnects > before && b.conn.Status() == nats.CONNECTED })
	}
}

// logged calls a function with the log so far.
type logged struct {
	slog.Handler
	each func(slog.Record)
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }

func (l logged) Handle(_ context.Context, r slog.Record) error {
	l.each(r)
	return nil
}

// TestCertificatesChange replaces the authorities of server and clients while connected. The server
// loads its configuration file again like an operator's server does: with the environment.
func TestCertificatesChange(t *testing.T) {
	var running *server.Options
	s := serve(t, "nats/nkeys.conf", func(_ *bustest.Server, o *server.Options) { running = o })
	settings := options(s, "gateway", RoleGateway)
	b, err := Open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	next := sinktest.NewAuthority(t)
	until := time.Now().Add(time.Hour)
	cert, key := next.Issue(t, until, "127.0.0.1")
	s.Environment["TTYDRAIN_NATS_CERT"], s.Environment["TTYDRAIN_NATS_KEY"], s.Environment["TTYDRAIN_NATS_CA"] = cert, key, next.File
	for name, value := range s.Environment {
		t.Setenv(name, value)
	}
	changed, err := server.ProcessConfigFile("nats/nkeys.conf")
	if err != nil {
		t.Fatal(err)
	}
	changed.NoSigs, changed.Port, changed.ConfigFile = true, running.Port, running.ConfigFile
	if err := s.ReloadOptions(changed); err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey := next.Issue(t, until)
	for from, to := range map[string]string{next.File: s.CAFile, clientCert: s.CertFile, clientKey: s.KeyFile} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	disconnect(t, s, b)()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.CreateOperation(ctx, newOperation()); err != nil {
		t.Error(err)
	}
}
