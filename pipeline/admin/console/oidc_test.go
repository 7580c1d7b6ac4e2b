package console

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// A provider is an OpenID provider. It knows one user, whose claims a test sets, and issues codes
// to browsers.
type provider struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu     sync.Mutex // guards what follows
	asked  url.Values // of the last authorization request
	change func(claims map[string]any)
	sign   func(claims map[string]any) string // nil to use the key
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(value)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		id, secret, _ := r.BasicAuth()
		challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if id != "ttydrain" || secret != "the-client-secret" || r.PostFormValue("code") != "the-code" || r.PostFormValue("redirect_uri") != p.asked.Get("redirect_uri") ||
			base64.RawURLEncoding.EncodeToString(challenge[:]) != p.asked.Get("code_challenge") || p.asked.Get("code_challenge_method") != "S256" {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]string{"error": "invalid_grant"})
			return
		}
		claims := map[string]any{"iss": p.URL, "aud": "ttydrain", "sub": "sub-1", "nonce": p.asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
			"email": "ada@example.com", "email_verified": true, "groups": []string{"staff"}}
		if p.change != nil {
			p.change(claims)
		}
		token := ""
		if p.sign != nil {
			token = p.sign(claims)
		} else {
			token = signed(p.key, claims)
		}
		answer(w, map[string]any{"access_token": "an-access-token", "token_type": "Bearer", "id_token": token})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func signed(key *ecdsa.PrivateKey, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		panic(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	return token
}

// critical signs with an extension in the header that must be understood.
func critical(p *provider, name string) func(map[string]any) string {
	return func(claims map[string]any) string {
		o := (&jose.SignerOptions{}).WithHeader(jose.HeaderKey("crit"), []string{name}).WithHeader(jose.HeaderKey(name), true)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "one"}}, o)
		if err != nil {
			panic(err)
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			panic(err)
		}
		return token
	}
}

// TestOIDC logs in with a provider, and checks that only allowed users and valid responses to the
// same login are accepted.
func TestOIDC(t *testing.T) {
	p := newProvider(t)
	c := mustNew(t, Options{URL: mustParse(t, "https://console.example.com"), OIDC: &OIDC{Issuer: p.URL, ClientID: "ttydrain", ClientSecret: "the-client-secret",
		Scopes: []string{"email"}, AllowedEmails: []string{"ada@example.com", "*@ops.example.com"}, AllowedGroups: []string{"on-call"}, GroupsClaim: "groups"}})
	there := to("console.example.com")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(changes map[string]any) func(map[string]any) {
		return func(c map[string]any) { maps.Copy(c, changes) }
	}
	unsigned := func(claims map[string]any) string {
		data, _ := json.Marshal(claims)
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(data) + "."
	}
	for _, test := range []struct {
		name   string
		change func(claims map[string]any)
		sign   func(claims map[string]any) string
		back   func(query url.Values) // changes the browser's callback
		edit   func(r *http.Request)  // changes its request
		status int
		who    string
	}{
		{name: "an e-mail address", status: 200, who: "ada@example.com (in the console)"},
		{name: "a domain", change: claims(map[string]any{"email": "eve@ops.example.com"}), status: 200, who: "eve@ops.example.com (in the console)"},
		{name: "a group", change: claims(map[string]any{"email": "bob@example.com", "groups": []string{"staff", "on-call"}}), status: 200, who: "bob@example.com (in the console)"},
		{name: "a group, by its name alone", change: claims(map[string]any{"email": nil, "groups": "on-call"}), status: 200, who: "sub-1 (in the console)"},
		{name: "nobody who is allowed", change: claims(map[string]any{"email": "bob@example.com"}), status: 403},
		{name: "an address that nobody has verified", change: claims(map[string]any{"email_verified": false}), status: 403},
		{name: "an address of which nobody says so", change: claims(map[string]any{"email_verified": nil}), status: 403},
		{name: "an address that is verified in words", change: claims(map[string]any{"email_verified": "true"}), status: 200, who: "ada@example.com (in the console)"},
		{name: "an address that is not, in words", change: claims(map[string]any{"email_verified": "no"}), status: 403},
		{name: "a group, and an address that nobody has verified", change: claims(map[string]any{"email_verified": nil, "groups": "on-call"}), status: 200, who: "sub-1 (in the console)"},
		{name: "an address that reads the other way", change: claims(map[string]any{"email": "moc\u202e@ops.example.com"}), status: 403},
		{name: "an address with a character of no width", change: claims(map[string]any{"email": "eve\u200b@ops.example.com"}), status: 403},
		{name: "a token that needs an extension", sign: critical(p, "exp2"), status: 401},
		{name: "a token that needs an extension that a library knows", sign: critical(p, "b64"), status: 401},
		{name: "another login's token", change: claims(map[string]any{"nonce": "another"}), status: 401},
		{name: "another client's token", change: claims(map[string]any{"aud": "another"}), status: 401},
		{name: "an old token", change: claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), status: 401},
		{name: "another issuer's token", change: claims(map[string]any{"iss": "https://evil.example.com"}), status: 401},
		{name: "another key's token", sign: func(c map[string]any) string { return signed(other, c) }, status: 401},
		{name: "a token without a signature", sign: unsigned, status: 401},
		{name: "no token", sign: func(map[string]any) string { return "" }, status: 401},
		{name: "another state", back: func(q url.Values) { q.Set("state", "another") }, status: 400},
		{name: "no state", back: func(q url.Values) { q.Del("state") }, status: 400},
		{name: "another browser", edit: func(r *http.Request) { r.Header.Del("Cookie") }, status: 400},
		{name: "another code", back: func(q url.Values) { q.Set("code", "another") }, status: 401},
		{name: "a refusal by the provider", back: func(q url.Values) { q.Set("error", "access_denied") }, status: 401},
	} {
		begun := send(t, c, "GET", "/console/oidc", "", there)
		if begun.StatusCode != http.StatusFound || len(begun.Cookies()) != 1 {
			t.Fatalf("%s: begun with %s", test.name, begun.Status)
		}
		kept := begun.Cookies()[0]
		if !kept.HttpOnly || !kept.Secure || kept.SameSite != http.SameSiteLaxMode || kept.Path != "/console/oidc" {
			t.Errorf("the cookie is %v", kept)
		}
		at := mustParse(t, begun.Header.Get("Location"))
		p.mu.Lock()
		p.asked, p.change, p.sign = at.Query(), test.change, test.sign
		p.mu.Unlock()
		if got := p.asked.Get("redirect_uri"); got != "https://console.example.com/console/oidc/callback" || p.asked.Get("scope") != "openid email" || p.asked.Get("response_type") != "code" {
			t.Fatalf("asked for %v", p.asked)
		}
		back := url.Values{"state": {p.asked.Get("state")}, "code": {"the-code"}}
		if test.back != nil {
			test.back(back)
		}
		edits := []func(*http.Request){there, func(r *http.Request) { r.AddCookie(kept) }, header("Sec-Fetch-Site", "cross-site")}
		if test.edit != nil {
			edits = append(edits, test.edit)
		}
		ended := send(t, c, "GET", "/console/oidc/callback?"+back.Encode(), "", all(edits...))
		page := text(t, ended)
		who := ""
		for _, cookie := range ended.Cookies() {
			if cookie.Name == CookieName {
				who = text(t, send(t, c, "GET", "/api/v1/x", "", all(there, func(r *http.Request) { r.AddCookie(cookie) })))
			}
		}
		if ended.StatusCode != test.status || who != test.who {
			t.Errorf("%s: %s, %q is in; %s", test.name, ended.Status, who, page)
		}
		for _, secret := range []string{"the-client-secret", "the-code", "an-access-token", kept.Value} {
			if strings.Contains(page, secret) {
				t.Errorf("%s: the page has a secret", test.name)
			}
		}
	}
	// A provider that is down does not prevent a start, and is contacted again.
	p.CloseClientConnections()
	down := mustNew(t, Options{URL: c.o.URL, OIDC: &OIDC{Issuer: "http://127.0.0.1:1", ClientID: "ttydrain", AllowedEmails: []string{"ada@example.com"}}})
	if r := send(t, down, "GET", "/console/oidc", "", there); r.StatusCode != http.StatusBadGateway || !strings.Contains(text(t, r), "is not available") {
		t.Errorf("a provider that is down: %s", r.Status)
	}
	if _, err := New(Options{OIDC: &OIDC{}}); err == nil {
		t.Error("OIDC without a URL is accepted")
	}
}
