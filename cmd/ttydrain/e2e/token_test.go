package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// A tokenIssuer issues access tokens, and serves its public keys.
type tokenIssuer struct {
	t   testing.TB
	url string

	mu   sync.Mutex // guards what follows
	id   string
	key  ed25519.PrivateKey
	live []string // every issued token
}

func newTokenIssuer(t testing.TB) *tokenIssuer {
	t.Helper()
	i := &tokenIssuer{t: t}
	i.rotate()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(i.keys()) }))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// keys returns the public keys, as a JSON Web Key Set.
func (i *tokenIssuer) keys() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.id, Use: "sig", Algorithm: "EdDSA"}}})
	if err != nil {
		i.t.Error(err)
	}
	return set
}

// rotate replaces the key by another one.
func (i *tokenIssuer) rotate() {
	i.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.id, i.key = rand.Text(), key
}

// token issues a token for an hour, with changes to its claims. All three parts of it are unique to
// the end.
func (i *tokenIssuer) token(changes jwt.MapClaims) string {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "https://id.example.com", "aud": "ssh", "sub": "u-1", "name": "Augusta Ada King", "email": "countess@example.com",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "zz": rand.Text(),
	}
	for name, value := range changes {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"], token.Header["zz"] = i.id, rand.Text()
	text, err := token.SignedString(i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	i.live = append(i.live, text)
	return text
}

// mustNotBeIn looks for every token, and for each of their parts.
func (i *tokenIssuer) mustNotBeIn(place haystack) {
	i.t.Helper()
	for n, token := range i.live {
		for _, part := range strings.Split(token, ".") {
			if form := findSecret(place.data, part); form != "" {
				i.t.Errorf("%s: a part of the token %d is there (%s)", place.name, n, form)
			}
		}
	}
}

// TestAccessToken sends tokens with sessions, and then searches for them, and for each of their
// parts, wherever ttydrain could have left them.
func TestAccessToken(t *testing.T) {
	t.Parallel()
	issuer := newTokenIssuer(t)
	drains := threeDrains(t)
	// The settings accept all variables.
	v := newSite(t, entries(drains), withGateway(`, accept_env: ["*"]`), withSettings(fmt.Sprintf(
		"access_token: {required: true, issuer: https://id.example.com, audience: ssh, algorithms: [EdDSA], jwks_url: %q}", issuer.url))).serve()
	with := func(token string, args ...string) result {
		t.Helper()
		cmd := v.openssh(v.site.key, append([]string{"-o", "SendEnv=ACCESS_TOKEN APTIBLE_*"}, args...)...)
		cmd.Env = append(cmd.Env, "APTIBLE_USER_DOCUMENT="+token, "APTIBLE_LAYER=forged")
		if token != "" {
			cmd.Env = append(cmd.Env, "ACCESS_TOKEN="+token)
		}
		return runTo(t, cmd)
	}
	const marker = "what the session shows"
	const look = "echo " + marker + "; env; tr '\\0' '\\n' </proc/self/environ"
	var operations []string
	seen := ""
	good := func(token string, args ...string) {
		t.Helper()
		got := with(token, args...)
		if got.status != 0 || !strings.Contains(got.stdout, marker) || strings.Contains(got.stdout, "ACCESS_TOKEN") || strings.Contains(got.stdout, "forged") {
			t.Fatalf("%+v", got)
		}
		seen += got.stdout + got.stderr
		operations = append(operations, operationOf(t, []byte(got.stderr+got.stdout)))
	}
	good(issuer.token(nil), "web@127.0.0.1", look)
	good(issuer.token(jwt.MapClaims{"id": "u-1", "sub": "https://id.example.com/users/1", "apps": []string{"stack:default"}}), "-tt", "web@127.0.0.1", look)
	issuer.rotate()
	// A fetch for an unknown key is not repeated within seconds: the user tries again.
	await(t, "for the rotated key to be found", func() bool { return with(issuer.token(nil), "web@127.0.0.1", "exit 7").status == 7 })
	good(issuer.token(nil), "web@127.0.0.1", look)
	own := exec.Command(v.site.program, "ssh", "--address", v.ssh, "--app", "web", "-i", v.site.key, "--known-hosts", v.knownHosts(), "--send-token", "echo in")
	own.Env = append(os.Environ(), "ACCESS_TOKEN="+issuer.token(nil), "GORACE=atexit_sleep_ms=0")
	if got := runTo(t, own); got.status != 0 || got.stdout != "in\n" {
		t.Errorf("by ttydrain ssh: %+v", got)
	}
	first := drains[0].transcript(t, operations[0]).records[0]
	if first.OperationUserName != "Augusta Ada King" || first.OperationUserEmail != "countess@example.com" {
		t.Errorf("the session is that of %s <%s>", first.OperationUserName, first.OperationUserEmail)
	}
	if c := claimsOf(t, first.UserDocument); c.ID != "u-1" || c.Name != "Augusta Ada King" || c.Issuer != "https://auth.example.com" {
		t.Errorf("the user document says %+v", c)
	}

	forged := strings.Split(issuer.token(nil), ".")
	forged[1] = strings.Split(issuer.token(jwt.MapClaims{"sub": "u-2"}), ".")[1]
	for name, test := range map[string]struct{ token, message string }{
		"none":             {"", "an access token is needed"},
		"another user's":   {issuer.token(jwt.MapClaims{"sub": "u-2"}), "another user's"},
		"expired":          {issuer.token(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), "expired"},
		"for another app":  {issuer.token(jwt.MapClaims{"apps": []string{"api"}}), "not for this app"},
		"another audience": {issuer.token(jwt.MapClaims{"aud": "web"}), "another audience"},
		"forged":           {strings.Join(forged, "."), "signature is not valid"},
		"too long":         {rand.Text() + strings.Repeat("x", 20<<10), "is too long"},
		"no token at all":  {"hunter2-" + rand.Text(), "not a valid token"},
	} {
		got := with(test.token, "web@127.0.0.1", "echo in")
		if got.status != 255 || got.stdout != "" || !strings.Contains(got.stderr, test.message) {
			t.Errorf("%s: %+v", name, got)
		}
		if name == "no token at all" {
			issuer.live = append(issuer.live, test.token)
		}
		seen += got.stderr
	}
	for _, d := range drains {
		for _, operation := range operations {
			d.transcript(t, operation)
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}

	places := storedFiles(t, v.site)
	for _, d := range drains {
		for _, operation := range operations {
			places = append(places, haystacksOf(t, d, operation)...)
		}
	}
	places = append(places, haystack{"serve's log", []byte(v.log.String())}, haystack{"what clients saw", []byte(seen)})
	hasMarker := 0
	for _, place := range places {
		if bytes.Contains(place.data, []byte(marker)) {
			hasMarker++
		}
		issuer.mustNotBeIn(place)
	}
	// The output is found, which proves that the search works: at each drain, in the store, at the
	// client.
	if hasMarker < len(drains)+2 {
		t.Errorf("what was shown was found in %d places", hasMarker)
	}
}
