package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ttydrain/ttydrain/schema"
)

// A mint is an issuer with keys by their IDs.
type mint struct {
	t    testing.TB
	keys map[string]crypto.Signer
}

func newMint(t testing.TB) *mint {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &mint{t, map[string]crypto.Signer{"ed": ed, "ec": ec, "rsa": r}}
}

// jwks returns a key set of some of the keys.
func (m *mint) jwks(ids ...string) []byte {
	m.t.Helper()
	var set jose.JSONWebKeySet
	for _, id := range ids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: m.keys[id].Public(), KeyID: id, Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		m.t.Fatal(err)
	}
	return data
}

func (m *mint) set(ids ...string) KeySet {
	m.t.Helper()
	set, err := ParseKeySet(m.jwks(ids...))
	if err != nil {
		m.t.Fatal(err)
	}
	return set
}

// good returns the claims of a valid token.
func good() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"iss": "https://auth.example.com", "aud": "ssh", "sub": "u-1", "name": "Ada Lovelace", "email": "ada@example.com",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func (m *mint) sign(method jwt.SigningMethod, id string, claims jwt.MapClaims) string {
	m.t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if id != "" {
		token.Header["kid"] = id
	}
	var key any = m.keys[id]
	if id == "" {
		key = m.keys["ed"]
	}
	text, err := token.SignedString(key)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// signWith signs valid claims with additional header fields.
func (m *mint) signWith(header map[string]any) string {
	m.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, good())
	maps.Copy(token.Header, header)
	token.Header["kid"] = "ed"
	text, err := token.SignedString(m.keys["ed"])
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// TestCriticalHeaders: a token that ttydrain signs is valid, and one with an extension that must be
// understood is not.
func TestCriticalHeaders(t *testing.T) {
	m := newMint(t)
	set := m.set("ed")
	for header, want := range map[string]error{"x": nil, "crit": ErrFalseSignature} {
		for _, value := range []any{[]string{"x"}, []string{"b64"}, []string{}, nil, 7} {
			if _, _, err := set.Verify(m.signWith(map[string]any{header: value})); !errors.Is(err, want) {
				t.Errorf("%s: %v: %v, want %v", header, value, err, want)
			}
		}
	}
}

func options(keys Keys) TokenOptions {
	return TokenOptions{Issuer: "https://auth.example.com", Audience: "ssh", Algorithms: []string{"RS256", "ES256", "EdDSA"}, Keys: keys}
}

// with returns valid claims with changes; nil removes one.
func with(changes map[string]any) jwt.MapClaims {
	c := good()
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func TestVerify(t *testing.T) {
	m := newMint(t)
	stranger := newMint(t)
	tokens := NewTokens(options(m.set("ed", "ec", "rsa")))
	ada := Claims{User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}}
	ed := func(changes map[string]any) string { return m.sign(jwt.SigningMethodEdDSA, "ed", with(changes)) }
	now := time.Now().Unix()
	public := m.keys["rsa"].Public().(*rsa.PublicKey)
	confused := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
	confused.Header["kid"] = "rsa"
	asSecret, err := confused.SignedString(public.N.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, good()).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	whole := ed(nil)
	for _, test := range []struct {
		name, token string
		want        Claims
		reason      string
	}{
		{name: "EdDSA", token: whole, want: ada},
		{name: "ES256", token: m.sign(jwt.SigningMethodES256, "ec", good()), want: ada},
		{name: "RS256", token: m.sign(jwt.SigningMethodRS256, "rsa", good()), want: ada},
		{name: "no key ID", token: m.sign(jwt.SigningMethodEdDSA, "", good()), want: ada},
		{name: "id wins over sub", token: ed(map[string]any{"sub": "https://auth/users/1", "id": "u-1"}), want: ada},
		{name: "several audiences", token: ed(map[string]any{"aud": []string{"web", "ssh"}}), want: ada},
		{name: "a clock that is slow", token: ed(map[string]any{"nbf": now + 20, "iat": now + 20}), want: ada},
		{name: "nobody's name", token: ed(map[string]any{"name": nil, "email": nil}), want: Claims{User: schema.User{ID: "u-1"}}},
		{name: "email not verified", token: ed(map[string]any{"email_verified": false}), want: Claims{User: schema.User{ID: "u-1", Name: "Ada Lovelace"}}},
		{name: "email verified", token: ed(map[string]any{"email_verified": true}), want: ada},
		{name: "email verified in words", token: ed(map[string]any{"email_verified": "true"}), want: ada},
		{name: "email not verified in words", token: ed(map[string]any{"email_verified": "false"}), want: Claims{User: schema.User{ID: "u-1", Name: "Ada Lovelace"}}},
		{name: "email verified by a number", token: ed(map[string]any{"email_verified": 1}), want: Claims{User: schema.User{ID: "u-1", Name: "Ada Lovelace"}}},
		{name: "apps", token: ed(map[string]any{"apps": []string{"web", "stack:default"}}), want: Claims{User: ada.User, Apps: []string{"web", "stack:default"}, Bounded: true}},
		{name: "one app", token: ed(map[string]any{"apps": "web"}), want: Claims{User: ada.User, Apps: []string{"web"}, Bounded: true}},
		{name: "no app", token: ed(map[string]any{"apps": []string{}}), want: Claims{User: ada.User, Bounded: true}},

		{name: "nothing", token: "", reason: "not a valid token"},
		{name: "text", token: "hunter2", reason: "not a valid token"},
		{name: "without a signature", token: unsigned, reason: "signature is not valid"},
		{name: "a public key as a secret", token: asSecret, reason: "signature is not valid"},
		{name: "an algorithm that is not configured", token: m.sign(jwt.SigningMethodPS256, "rsa", good()), reason: "signature is not valid"},
		{name: "a key of another kind", token: m.sign(jwt.SigningMethodEdDSA, "ed", good())[1:], reason: "not a valid token"},
		{name: "another's key with the ID", token: stranger.sign(jwt.SigningMethodEdDSA, "ed", good()), reason: "signature is not valid"},
		{name: "changed", token: whole[:len(whole)-4] + "AAAA", reason: "signature is not valid"},
		{name: "expired", token: ed(map[string]any{"exp": now - 31}), reason: "expired"},
		{name: "no expiry", token: ed(map[string]any{"exp": nil}), reason: "lacks"},
		{name: "another's spelling", token: ed(map[string]any{"exp": nil, "EXP": now + 60}), reason: "lacks"},
		{name: "expiry in words", token: ed(map[string]any{"exp": "tomorrow"}), reason: "claims are not valid"},
		{name: "not yet", token: ed(map[string]any{"nbf": now + 60}), reason: "not valid yet"},
		{name: "from the future", token: ed(map[string]any{"iat": now + 60}), reason: "in the future"},
		{name: "another issuer", token: ed(map[string]any{"iss": "https://auth.example.com/"}), reason: "another issuer"},
		{name: "no issuer", token: ed(map[string]any{"iss": nil}), reason: "lacks"},
		{name: "another audience", token: ed(map[string]any{"aud": "web"}), reason: "another audience"},
		{name: "no audience", token: ed(map[string]any{"aud": nil}), reason: "lacks"},
		{name: "no user", token: ed(map[string]any{"sub": nil}), reason: "names no user"},
		{name: "user with spaces", token: ed(map[string]any{"sub": "a b"}), reason: "not a valid user ID"},
		{name: "user as a number", token: ed(map[string]any{"id": 1}), reason: "not a string"},
		{name: "name that drives a terminal", token: ed(map[string]any{"name": "a\x1b[2J"}), reason: "not a valid name"},
		{name: "name that reads the other way", token: ed(map[string]any{"name": "Ada\u202eecalevoL"}), reason: "not a valid name"},
		{name: "name with a character of no width", token: ed(map[string]any{"name": "Ada\u200b Lovelace"}), reason: "not a valid name"},
		{name: "name with a C1 control", token: ed(map[string]any{"name": "Ada\u009b31m"}), reason: "not a valid name"},
		{name: "email that reads the other way", token: ed(map[string]any{"email": "ada\u202e@example.com"}), reason: "not an e-mail"},
		{name: "critical extension", token: m.signWith(map[string]any{"crit": []string{"exp2"}, "exp2": 1}), reason: "extension that is not supported"},
		{name: "critical extension that a library knows", token: m.signWith(map[string]any{"crit": []string{"b64"}, "b64": true}), reason: "extension that is not supported"},
		{name: "no critical extension, which must not be said", token: m.signWith(map[string]any{"crit": []string{}}), reason: "extension that is not supported"},
		{name: "critical extension of another form", token: m.signWith(map[string]any{"crit": "x"}), reason: "extension that is not supported"},
		{name: "critical extension of no form", token: m.signWith(map[string]any{"crit": nil}), reason: "extension that is not supported"},
		{name: "email that is none", token: ed(map[string]any{"email": "ada"}), reason: "not an e-mail"},
		{name: "apps as a number", token: ed(map[string]any{"apps": 1}), reason: "not a list"},
		{name: "too long", token: whole + strings.Repeat("A", maxToken), reason: "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := tokens.Verify(t.Context(), test.token)
			if test.reason == "" {
				if err != nil || got.User != test.want.User || got.Bounded != test.want.Bounded || !slices.Equal(got.Apps, test.want.Apps) {
					t.Errorf("got %+v, %v; want %+v", got, err, test.want)
				}
				return
			}
			if _, ok := errors.AsType[*TokenError](err); !ok || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %+v, %v; want %q", got, err, test.reason)
				return
			}
			for part := range strings.SplitSeq(test.token, ".") {
				if len(part) > 6 && strings.Contains(err.Error(), part) {
					t.Errorf("the error quotes the token: %v", err)
				}
			}
		})
	}
}

func TestClaimsAllow(t *testing.T) {
	bounded := Claims{Apps: []string{"web", "stack:default"}, Bounded: true}
	for _, test := range []struct {
		claims     Claims
		app, stack string
		want       bool
	}{
		{Claims{}, "web", "default", true},
		{Claims{Bounded: true}, "web", "default", false},
		{bounded, "web", "other", true},
		{bounded, "api", "default", true},
		{bounded, "api", "other", false},
	} {
		if got := test.claims.Allows(test.app, test.stack); got != test.want {
			t.Errorf("%+v allows %s on %s: %t", test.claims, test.app, test.stack, got)
		}
	}
}

func TestParseKeySet(t *testing.T) {
	m := newMint(t)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err) // a newer Go does not make one
	}
	m.keys["short"] = short
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: m.keys["ed"], KeyID: "ed"}}})
	if err != nil {
		t.Fatal(err)
	}
	forEncryption := bytes.Replace(m.jwks("rsa"), []byte(`"sig"`), []byte(`"enc"`), 1)
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("x"), "no set": []byte(`{}`), "no keys": []byte(`{"keys":[]}`),
		"a secret": []byte(`{"keys":[{"kty":"oct","k":"aHVudGVy"}]}`), "a private key": private,
		"a short key": m.jwks("short"), "a key for encryption": forEncryption,
	} {
		if set, err := ParseKeySet(data); err == nil || strings.Contains(err.Error(), "aHVudGVy") {
			t.Errorf("%s: %v, %v", name, set, err)
		}
	}
	// Entries that are not supported do not invalidate the others.
	mixed := bytes.Replace(m.jwks("ed"), []byte(`[`), []byte(`[{"kty":"future"},{"kty":"RSA"},`), 1)
	if set, err := ParseKeySet(mixed); err != nil || len(set.keys) != 1 {
		t.Errorf("%v, %v", set, err)
	}
}

// An issuer answers requests for its keys, in memory.
type issuer struct {
	mu       sync.Mutex // guards what follows
	requests int
	answer   func() (int, []byte)
}

func (i *issuer) serve(status int, body []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = func() (int, []byte) { return status, body }
}

func (i *issuer) asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Second) // in the bubble's time
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requests++
	status, body := i.answer()
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// TestRemoteKeys: keys are cached, refreshed in the background, found immediately after a rotation,
// fetched at most once in five seconds, and not trusted beyond the bound.
func TestRemoteKeys(t *testing.T) {
	m, other := newMint(t), newMint(t)
	other.keys["ed2"] = other.keys["ed"]
	synctest.Test(t, func(t *testing.T) {
		source := new(issuer)
		source.serve(200, m.jwks("ed"))
		remote := NewRemoteKeys(RemoteOptions{
			URL: "https://auth.example.com/jwks", Client: &http.Client{Transport: source}, Refresh: time.Minute, MaxStale: time.Hour,
			Log: slog.New(slog.DiscardHandler),
		})
		tokens := NewTokens(options(remote))
		verify := func(m *mint, id string) error {
			_, err := tokens.Verify(context.Background(), m.sign(jwt.SigningMethodEdDSA, id, good()))
			return err
		}
		must := func(what string, err error, reason string, requests int) {
			t.Helper()
			synctest.Wait()
			if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
				t.Errorf("%s: %v; expected %q", what, err, reason)
			}
			if got := source.asked(); got != requests {
				t.Errorf("%s: %d requests; expected %d", what, got, requests)
			}
		}
		// Several concurrent verifications cause one request.
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := verify(m, "ed"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		must("first", verify(m, "ed"), "", 1)
		// An unknown key: requested, but not repeatedly.
		time.Sleep(10 * time.Second)
		must("unknown", verify(other, "ed2"), "does not publish", 2)
		must("unknown again", verify(other, "ed2"), "does not publish", 2)
		// Rotated: the new key is found.
		time.Sleep(10 * time.Second)
		source.serve(200, other.jwks("ed2"))
		must("rotated", verify(other, "ed2"), "", 3)
		must("retired", verify(m, "ed"), "does not publish", 3)
		// Older than a minute: used, and fetched meanwhile.
		time.Sleep(2 * time.Minute)
		before := time.Now()
		err := verify(other, "ed2")
		if waited := time.Since(before); waited != 0 {
			t.Errorf("it waited for a refresh: %s", waited)
		}
		time.Sleep(2 * time.Second)
		must("refreshed", err, "", 4)
		// The issuer is down: its keys stay valid for one more hour.
		source.serve(503, nil)
		time.Sleep(59 * time.Minute)
		must("stale", verify(other, "ed2"), "", 4)
		time.Sleep(2 * time.Minute)
		must("too old", verify(other, "ed2"), "could not be fetched", 6)
		source.serve(200, []byte(strings.Repeat("x", maxKeySet+1)))
		time.Sleep(10 * time.Second)
		must("too long", verify(other, "ed2"), "could not be fetched", 7)
		source.serve(200, other.jwks("ed2"))
		time.Sleep(10 * time.Second)
		must("back", verify(other, "ed2"), "", 8)
		// A cancelled context ends the wait.
		time.Sleep(2 * time.Hour)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = tokens.Verify(ctx, other.sign(jwt.SigningMethodEdDSA, "ed2", good()))
		if err == nil {
			t.Error("verified without keys")
		}
		time.Sleep(time.Minute) // the fetch that it started ends
	})
}
