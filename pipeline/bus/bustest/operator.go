package bustest

import (
	"os"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// Operator is trusted by a NATS server that has no list of users: a user presents a JWT that an
// account has signed, and the account one that the operator has signed.
type Operator struct {
	claims  *jwt.OperatorClaims
	account nkeys.KeyPair
	system  string // the account that NATS itself needs
	tokens  map[string]string
}

// NewOperator returns an operator with one account, which has JetStream.
func NewOperator(t testing.TB) *Operator {
	t.Helper()
	key, name := newKey(t, nkeys.CreateOperator)
	o := &Operator{claims: jwt.NewOperatorClaims(name), tokens: make(map[string]string)}
	sign := func(account *jwt.AccountClaims) {
		t.Helper()
		token, err := account.Encode(key)
		if err != nil {
			t.Fatal(err)
		}
		o.tokens[account.Subject] = token
	}
	o.account, name = newKey(t, nkeys.CreateAccount)
	account := jwt.NewAccountClaims(name)
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	sign(account)
	_, o.system = newKey(t, nkeys.CreateAccount)
	sign(jwt.NewAccountClaims(o.system))
	return o
}

func newKey(t testing.TB, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string) {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return key, public
}

// Trusted makes a server trust the operator, instead of the users in its configuration file: it is
// a change for [Start].
func (o *Operator) Trusted(_ *Server, options *server.Options) {
	resolver := new(server.MemAccResolver)
	for name, token := range o.tokens {
		resolver.Store(name, token) // in memory it does not fail
	}
	options.Users, options.Nkeys = nil, nil
	options.TrustedOperators, options.AccountResolver, options.SystemAccount = []*jwt.OperatorClaims{o.claims}, resolver, o.system
}

// Credentials writes the credentials file of a new user with permissions, and returns the user's
// public key.
func (o *Operator) Credentials(t testing.TB, file string, p *server.Permissions) (public string) {
	t.Helper()
	public, seed := newNKey(t)
	claims := jwt.NewUserClaims(public)
	claims.Pub.Allow, claims.Sub.Allow = p.Publish.Allow, p.Subscribe.Allow
	token, err := claims.Encode(o.account)
	if err != nil {
		t.Fatal(err)
	}
	data, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return public
}
