package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// apps is the part of the configuration that the table of the policy is about: Ada may open web and
// api by her key, Bob may open db; staff's certificates open web and db at most.
const apps = `
user_document: {issuer: https://auth.example.com}
stacks:
  - {name: default, plan: growth}
  - {name: other, plan: growth}
apps:
  - {name: web, stack: default, file_transfer: record}
  - {name: api, stack: default}
  - {name: db, stack: other}
users:
  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web, api]}
  - {id: u-2, name: Bob, email: bob@example.com, authorized_keys: [./bob.pub], apps: [db]}
user_ca:
  - {name: staff, public_keys: [./staff.pub], match: {apps: [web, db]}}
`

const tokens = `
access_token: {issuer: https://auth.example.com, audience: ssh, jwks_file: ./jwks.json, algorithms: [EdDSA]}
`

// A world has everybody's keys, and loads configurations that name them.
type world struct {
	t      *testing.T
	dir    string
	keys   map[string]ssh.Signer
	issuer ed25519.PrivateKey // of access tokens
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), keys: make(map[string]ssh.Signer)}
	for _, name := range []string{"ada", "bob", "staff", "stranger"} {
		key, err := ssh.NewSignerFromKey(w.newKey())
		if err != nil {
			t.Fatal(err)
		}
		w.keys[name] = key
		w.write(name+".pub", ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	w.issuer = w.newKey()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.issuer.Public(), KeyID: "k", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.write("jwks.json", set)
	return w
}

func (w *world) newKey() ed25519.PrivateKey {
	w.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) write(name string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load(text string) *config.Config {
	w.t.Helper()
	w.write("ttydrain.yaml", []byte(text))
	c, err := config.Load(filepath.Join(w.dir, "ttydrain.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) policy(text string) *Policy {
	w.t.Helper()
	p, err := New(w.load(text), slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// certificate returns one of the stranger's key, for u-1 and web, signed by staff after change.
func (w *world) certificate(change func(*ssh.Certificate)) ssh.PublicKey {
	w.t.Helper()
	cert := &ssh.Certificate{
		Key: w.keys["stranger"].PublicKey(), CertType: ssh.UserCert, KeyId: "u-1", ValidPrincipals: []string{"web"},
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
		Permissions: ssh.Permissions{
			CriticalOptions: make(map[string]string), Extensions: map[string]string{"permit-pty": "", "name@ttydrain": "Ada Lovelace"},
		},
	}
	signer := w.keys["staff"]
	if change != nil {
		change(cert)
	}
	if cert.SignatureKey != nil { // by a CA that is not configured
		signer = w.keys["stranger"]
	}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// token returns an access token of u-1, signed by the issuer after change.
func (w *world) token(change func(jwt.MapClaims)) string {
	w.t.Helper()
	claims := jwt.MapClaims{"iss": "https://auth.example.com", "aud": "ssh", "sub": "u-1", "exp": time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "k"
	text, err := token.SignedString(w.issuer)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

var (
	here = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}
	ada  = schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	bob  = schema.User{ID: "u-2", Name: "Bob", Email: "bob@example.com"}
	// byCert is Ada as her certificate names her.
	byCert = schema.User{ID: "u-1", Name: "Ada Lovelace"}
)

// same compares grants by value.
func same(a, b gateway.Grant) bool {
	if (a.ForceCommand == nil) != (b.ForceCommand == nil) || a.ForceCommand != nil && *a.ForceCommand != *b.ForceCommand {
		return false
	}
	return a.User == b.User && a.NoTerminal == b.NoTerminal && a.FileTransfer == b.FileTransfer
}

func TestAuthorize(t *testing.T) {
	w := newWorld(t)
	policy := w.policy(apps)
	key := func(name string) ssh.PublicKey { return w.keys[name].PublicKey() }
	command := "uptime"
	const none = "no such app, no such key, or the key may not use the app"
	for _, test := range []struct {
		name, app string
		key       ssh.PublicKey
		want      gateway.Grant
		refused   string // what the error has in it; "" for a grant
	}{
		{"a key with the app", "api", key("ada"), gateway.Grant{User: ada}, ""},
		{"a key with an app that takes files", "web", key("ada"), gateway.Grant{User: ada, FileTransfer: true}, ""},
		{"another user's key", "db", key("bob"), gateway.Grant{User: bob}, ""},
		{"a key without the app", "db", key("ada"), gateway.Grant{}, none},
		{"an unknown key", "web", key("stranger"), gateway.Grant{}, none},
		{"an unknown app", "nothing", key("ada"), gateway.Grant{}, none},
		{"the list of apps is no app", gateway.NoApp, key("ada"), gateway.Grant{}, none},
		{"no app", "", key("ada"), gateway.Grant{}, none},
		{"the CA's own key", "web", key("staff"), gateway.Grant{}, none},

		{"a certificate", "web", w.certificate(nil), gateway.Grant{User: byCert, FileTransfer: true}, ""},
		{"a certificate for an unknown app", "nothing", w.certificate(nil), gateway.Grant{}, none},
		{"a certificate for another app", "api", w.certificate(nil), gateway.Grant{}, "principal"},
		{"a certificate for a stack", "db", w.certificate(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"stack:other"} }),
			gateway.Grant{User: byCert}, ""},
		{"a certificate for another stack", "web", w.certificate(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"stack:other"} }),
			gateway.Grant{}, "principal"},
		{"a certificate for an app that its CA may not open", "api", w.certificate(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"api"} }),
			gateway.Grant{}, "does not permit certificates of the CA staff"},
		{"a certificate without principals", "web", w.certificate(func(c *ssh.Certificate) { c.ValidPrincipals = nil }), gateway.Grant{}, "no principals"},
		{"an expired certificate", "web", w.certificate(func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 1 }), gateway.Grant{}, "expired"},
		{"a host's certificate", "web", w.certificate(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), gateway.Grant{}, "host certificate"},
		{"a certificate of another CA", "web", w.certificate(func(c *ssh.Certificate) { c.SignatureKey = key("stranger") }), gateway.Grant{}, "another CA"},
		{"a certificate with a forced command", "web", w.certificate(func(c *ssh.Certificate) { c.CriticalOptions["force-command"] = command }),
			gateway.Grant{User: byCert, ForceCommand: &command, FileTransfer: true}, ""},
		{"a certificate without a terminal", "web", w.certificate(func(c *ssh.Certificate) { delete(c.Extensions, "permit-pty") }),
			gateway.Grant{User: byCert, NoTerminal: true, FileTransfer: true}, ""},
		{"a certificate for this address", "web", w.certificate(func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "192.0.2.0/24" }),
			gateway.Grant{User: byCert, FileTransfer: true}, ""},
		{"a certificate for another address", "web", w.certificate(func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "198.51.100.1" }),
			gateway.Grant{}, "may not be used from"},
		{"a certificate with an unknown critical option", "web", w.certificate(func(c *ssh.Certificate) { c.CriticalOptions["x@example.com"] = "" }),
			gateway.Grant{}, "critical option"},
	} {
		got, err := policy.Authorize(gateway.Login{App: test.app, Key: test.key, Remote: here})
		if !same(got, test.want) {
			t.Errorf("%s: granted %+v, want %+v", test.name, got, test.want)
		}
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.refused)
		}
	}
	if got := policy.Apps(); !slices.Equal(got, []string{"web", "api", "db"}) {
		t.Errorf("the apps are %q", got)
	}
}

func TestAdmit(t *testing.T) {
	w := newWorld(t)
	plain, optional := w.policy(apps), w.policy(apps+tokens)
	required := w.policy(apps + strings.Replace(tokens, "{", "{required: true, ", 1))
	renamed := ada
	renamed.Name, renamed.Email = "Countess of Lovelace", "countess@example.com"
	const needed, foreign, elsewhere = "an access token is needed", "another user's", "not for this app"
	for _, test := range []struct {
		name    string
		policy  *Policy
		app     string
		token   string
		want    schema.User
		refused string // what the user reads; "" for none
	}{
		{"no tokens are configured", plain, "web", "", ada, ""},
		{"no tokens are configured, one is sent", plain, "web", "nonsense", ada, ""},
		{"none is sent", optional, "web", "", ada, ""},
		{"none is sent, one is required", required, "web", "", schema.User{}, needed},
		{"of the user", required, "web", w.token(nil), ada, ""},
		{"it names the user", required, "web", w.token(func(c jwt.MapClaims) { c["name"], c["email"] = renamed.Name, renamed.Email }), renamed, ""},
		{"its claim id goes before sub", required, "web", w.token(func(c jwt.MapClaims) { c["sub"], c["id"] = "x", "u-1" }), ada, ""},
		{"of another user", optional, "web", w.token(func(c jwt.MapClaims) { c["sub"] = "u-2" }), schema.User{}, foreign},
		{"for the app", required, "web", w.token(func(c jwt.MapClaims) { c["apps"] = []string{"web"} }), ada, ""},
		{"for the stack", required, "api", w.token(func(c jwt.MapClaims) { c["apps"] = []string{"stack:default"} }), ada, ""},
		{"for another app", optional, "web", w.token(func(c jwt.MapClaims) { c["apps"] = []string{"api"} }), schema.User{}, elsewhere},
		{"for no app", optional, "web", w.token(func(c jwt.MapClaims) { c["apps"] = []string{} }), schema.User{}, elsewhere},
		{"for an app that the key does not open", required, "db", w.token(func(c jwt.MapClaims) { c["apps"] = []string{"db"} }), schema.User{}, ""},
		{"expired", optional, "web", w.token(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() }), schema.User{}, "has expired"},
		{"for another audience", optional, "web", w.token(func(c jwt.MapClaims) { c["aud"] = "x" }), schema.User{}, "another audience"},
		{"of another issuer", optional, "web", w.token(func(c jwt.MapClaims) { c["iss"] = "https://example.com" }), schema.User{}, "another issuer"},
		{"no token", optional, "web", "SECRET", schema.User{}, "refused"},
	} {
		grant, err := test.policy.Admit(t.Context(), gateway.Login{App: test.app, Key: w.keys["ada"].PublicKey(), Remote: here}, test.token)
		if test.want != (schema.User{}) {
			if err != nil || grant.User != test.want {
				t.Errorf("%s: admitted %+v, %v, want %+v", test.name, grant.User, err, test.want)
			}
			continue
		}
		refusal, shown := errors.AsType[*session.Refusal](err)
		switch {
		case err == nil:
			t.Errorf("%s: admitted %+v", test.name, grant.User)
		case shown != (test.refused != "") || shown && !strings.Contains(refusal.Message, test.refused):
			t.Errorf("%s: %v, want %q for the user", test.name, err, test.refused)
		case test.token != "" && strings.Contains(err.Error(), test.token):
			t.Errorf("%s: the token is in the error %v", test.name, err)
		}
	}
}

// TestWith: after a reload the new configuration decides, on open connections too, and the verifier
// of tokens is kept if their settings are the same.
func TestWith(t *testing.T) {
	w := newWorld(t)
	var a Authorizer
	a.Use(w.policy(apps + tokens))
	login := gateway.Login{App: "web", Key: w.keys["ada"].PublicKey(), Remote: here}
	if _, err := a.Admit(t.Context(), login, w.token(nil)); err != nil {
		t.Fatal(err)
	}
	use := func(text string) (kept bool) {
		t.Helper()
		before := a.Policy()
		next, err := before.With(w.load(text))
		if err != nil {
			t.Fatal(err)
		}
		a.Use(next)
		return next.tokens == before.tokens
	}
	without := strings.Replace(apps, "apps: [web, api]}", "apps: [api]}", 1)
	if kept := use(without + tokens); !kept {
		t.Error("the same settings of tokens have a new verifier")
	}
	if _, err := a.Authorize(login); !errors.Is(err, errDenied) {
		t.Errorf("a login to an app that was taken away: %v", err)
	}
	if _, err := a.Admit(t.Context(), login, ""); !errors.Is(err, errDenied) {
		t.Errorf("a session after the app was taken away: %v", err)
	}
	if kept := use(apps + strings.Replace(tokens, "audience: ssh", "audience: x", 1)); kept {
		t.Error("other settings of tokens have the old verifier")
	}
	if _, err := a.Admit(t.Context(), login, w.token(nil)); err == nil || !strings.Contains(err.Error(), "another audience") {
		t.Errorf("a token of the old settings: %v", err)
	}
	if use(apps); a.Policy().tokens != nil {
		t.Error("tokens are verified that are no longer configured")
	}
	if got := a.Apps(); !slices.Equal(got, []string{"web", "api", "db"}) {
		t.Errorf("the apps are %q", got)
	}
}
