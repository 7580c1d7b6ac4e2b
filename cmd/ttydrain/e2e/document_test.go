package e2e

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A signedSession has the signed parts of a session.
type signedSession struct {
	jwks     json.RawMessage
	document string // the user document of its records
	end      record
	totals   signedTotals // that its records add up to
}

// signSession runs a session with a key of an algorithm, which is created.
func signSession(t *testing.T, algorithm string) signedSession {
	t.Helper()
	drain := httpsDrain(t, "json", "")
	v := newSite(t, withDrains(drain.entry), withAlgorithm(algorithm)).serve()
	// The session itself has the document, too.
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "echo $APTIBLE_USER_DOCUMENT"))
	s := drain.transcript(t, operationOf(t, []byte(got.stderr)))
	document := s.records[0].UserDocument
	for _, r := range s.records {
		if r.UserDocument != document {
			t.Errorf("record %d has another user document", r.Sequence)
		}
		if r.OperationUserName != "Ada Lovelace" || r.OperationUserEmail != "ada@example.com" {
			t.Errorf("record %d is of %s <%s>", r.Sequence, r.OperationUserName, r.OperationUserEmail)
		}
	}
	if got.stdout != document+"\n" {
		t.Errorf("the session's own document is %q, that of the records %q", got.stdout, document)
	}
	status, jwks := v.get("/.well-known/jwks.json")
	if status != http.StatusOK || bytes.Contains(jwks, []byte(`"d":`)) {
		t.Fatalf("the public keys: %d %s", status, jwks)
	}
	// The transcript is checked against the signed totals.
	return signedSession{jwks, document, s.end, totalsOf(t, s.end.Signature)}
}

type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	ID       string `json:"id"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// check compares the claims of a user document with the user.
func (c claims) check(t *testing.T) {
	t.Helper()
	want := claims{"https://auth.example.com", "u-1", "u-1", "ada@example.com", "Ada Lovelace", c.IssuedAt, c.Expires}
	now := time.Now().Unix()
	if c != want || c.IssuedAt > now || c.IssuedAt < now-3600 || c.Expires >= c.IssuedAt {
		t.Errorf("the claims are %+v", c)
	}
}

// claimsOf returns the claims of a token without verifying it.
func claimsOf(t testing.TB, token string) (c claims) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDocumentPyJWT verifies signatures with PyJWT and the published keys.
func TestDocumentPyJWT(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	if err := exec.Command(python, "-c", "import jwt, cryptography").Run(); err != nil {
		absent(t, "Python has no PyJWT: pip install pyjwt cryptography")
	}
	for _, algorithm := range []string{"EdDSA", "ES256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			s := signSession(t, algorithm)
			request, err := json.Marshal(map[string]any{"jwks": s.jwks, "tokens": map[string]string{"document": s.document, "end": s.end.Signature}})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(python, "testdata/document/verify.py")
			cmd.Stdin = bytes.NewReader(request)
			got := runTo(t, cmd)
			if got.status != 0 {
				t.Fatalf("PyJWT does not verify: %s", got.stderr)
			}
			type verified struct {
				Header struct{ Alg, Typ string }
				Claims json.RawMessage
				// Error is the result of a verification with the expiry, Forgery that with another signature.
				Error, Forgery string
			}
			var answer struct{ Document, End verified }
			if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil {
				t.Fatal(err)
			}
			for name, v := range map[string]verified{"document": answer.Document, "end": answer.End} {
				if v.Error != "ExpiredSignatureError" || v.Forgery != "InvalidSignatureError" || v.Header.Alg != algorithm {
					t.Errorf("%s: algorithm %s; verified with its expiry: %q; with another signature: %q", name, v.Header.Alg, v.Error, v.Forgery)
				}
			}
			var c claims
			if err := json.Unmarshal(answer.Document.Claims, &c); err != nil {
				t.Fatal(err)
			}
			c.check(t)
			var totals signedTotals
			if err := json.Unmarshal(answer.End.Claims, &totals); err != nil {
				t.Fatal(err)
			}
			if totals != s.totals {
				t.Errorf("the end's verified totals are %+v, want %+v", totals, s.totals)
			}
			if answer.End.Header.Typ != "ttydrain-end+jwt" {
				t.Errorf("the end is of the type %q, and could be taken for something else", answer.End.Header.Typ)
			}
		})
	}
}

// TestDocumentOpenSSL verifies signatures with openssl.
func TestDocumentOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := need(t, "openssl")
	s := signSession(t, "RS256")
	var set struct {
		Keys []struct{ Kty, Alg, Use, N, E string }
	}
	if err := json.Unmarshal(s.jwks, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || set.Keys[0].Kty != "RSA" || set.Keys[0].Alg != "RS256" || set.Keys[0].Use != "sig" {
		t.Fatalf("the public keys: %s", s.jwks)
	}
	number := func(text string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	key := &rsa.PublicKey{N: number(set.Keys[0].N), E: int(number(set.Keys[0].E).Int64())}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public := file("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	verify := func(signed, signature string) result {
		raw, err := base64.RawURLEncoding.DecodeString(signature)
		if err != nil {
			t.Fatal(err)
		}
		return runTo(t, exec.Command(openssl, "dgst", "-sha256", "-verify", public, "-signature", file("signature", raw), file("signed", []byte(signed))))
	}
	for name, token := range map[string]string{"document": s.document, "end": s.end.Signature} {
		at := strings.LastIndexByte(token, '.')
		if got := verify(token[:at], token[at+1:]); got.status != 0 {
			t.Errorf("%s: openssl does not verify: %s%s", name, got.stdout, got.stderr)
		}
		if got := verify(token[:at]+"A", token[at+1:]); got.status == 0 {
			t.Errorf("%s: openssl verifies what was not signed", name)
		}
	}
	c := claimsOf(t, s.document)
	c.check(t)
	if expired := time.Since(time.Unix(c.Expires, 0)); expired < 10*time.Minute {
		t.Errorf("the document expired %s ago", expired)
	}
}
