package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// answers is a transport that answers each URL with a key set, or with a redirect.
type answers map[string]string

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	response := &http.Response{StatusCode: http.StatusOK, Request: r, Header: make(http.Header)}
	body := a[r.URL.String()]
	if strings.HasPrefix(body, "http") {
		response.StatusCode = http.StatusFound
		response.Header.Set("Location", body)
		body = ""
	}
	response.Body = io.NopCloser(strings.NewReader(body))
	return response, nil
}

// TestFetchKeySetRefusesUnprotected holds that a key set is not fetched, not even after a redirect,
// from an address where it could be changed in transit.
func TestFetchKeySetRefusesUnprotected(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	const refused = "can be changed in transit"
	for _, test := range []struct{ address, redirect, to, refusal string }{
		{"https://auth.example.com/jwks", "", "", ""},
		{"http://localhost:8080/jwks", "", "", ""},
		{"http://127.0.0.2/jwks", "", "", ""},
		{"http://[::1]/jwks", "", "", ""},
		{"http://auth.example.com/jwks", "", "", refused},
		{"http://10.0.0.1/jwks", "", "", refused},
		{"http://localhost.example.com/jwks", "", "", refused},
		{"https://auth.example.com/jwks", "https://auth.example.com/keys", "", ""},
		{"https://auth.example.com/jwks", "http://auth.example.com/keys", "", refused},
		{"https://auth.example.com/jwks", "http://auth.example.com/keys", "https://other.example.com/keys", refused},
	} {
		transport := answers{test.address: string(set), test.redirect: string(set), test.to: string(set)}
		if test.redirect != "" {
			transport[test.address] = test.redirect
		}
		if test.to != "" {
			transport[test.redirect] = test.to
		}
		_, err := FetchKeySet(t.Context(), &http.Client{Transport: transport}, test.address)
		if (err == nil) != (test.refusal == "") || err != nil && !strings.Contains(err.Error(), test.refusal) {
			t.Errorf("%s, %q, %q: %v", test.address, test.redirect, test.to, err)
		}
	}
}
