package enrich

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ttydrain/ttydrain/schema"
)

// document returns an unsigned JWT with these claims.
func document(t testing.TB, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return rawDocument(string(payload))
}

func rawDocument(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode([]byte(payload)) + "."
}

func TestCheckDocument(t *testing.T) {
	now := time.Unix(1700000000, 500_000_000)
	k := testKey(t)
	sign := func(claims jwt.MapClaims) string {
		signed, err := jwt.NewWithClaims(k.method, claims).SignedString(k.private)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	minted, err := k.Mint("https://auth.example.com", schema.User{ID: "u"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, document string
		want           error
	}{
		{"minted", minted, nil},
		{"expired a second ago", sign(jwt.MapClaims{"exp": 1699999999}), nil},
		{"expires in this second", sign(jwt.MapClaims{"exp": 1700000000}), ErrLiveDocument},
		{"expires half a second later", sign(jwt.MapClaims{"exp": 1700000000.9}), ErrLiveDocument},
		{"live", sign(jwt.MapClaims{"exp": 1700003600}), ErrLiveDocument},
		{"live for ever", sign(jwt.MapClaims{"exp": 1e300}), ErrLiveDocument},
		{"live past the range of 64 bits", sign(jwt.MapClaims{"exp": 9.3e18}), ErrLiveDocument},
		{"live, with an expired EXP too", rawDocument(`{"exp":1700003600,"EXP":1}`), ErrLiveDocument},
		{"live at last", rawDocument(`{"exp":1,"exp":1700003600}`), ErrLiveDocument},
		{"live, unsigned", rawDocument(`{"exp":1700003600}`), ErrLiveDocument},
		{"expired, unsigned", rawDocument(`{"exp":1}`), nil},
		{"expired before 1970", rawDocument(`{"exp":-1}`), nil},
		{"no exp", sign(jwt.MapClaims{"sub": "u"}), ErrBadDocument},
		{"EXP alone", rawDocument(`{"EXP":1}`), ErrBadDocument},
		{"exp is null", rawDocument(`{"exp":null}`), ErrBadDocument},
		{"exp is text", rawDocument(`{"exp":"1"}`), ErrBadDocument},
		{"exp is too large a number", rawDocument(`{"exp":1e999}`), ErrBadDocument},
		{"claims are null", rawDocument(`null`), ErrBadDocument},
		{"claims are a list", rawDocument(`[1]`), ErrBadDocument},
		{"claims are no JSON", rawDocument(`secret`), ErrBadDocument},
		{"nothing", "", ErrBadDocument},
		{"two parts", "e30.e30", ErrBadDocument},
		{"four parts", rawDocument(`{"exp":1}`) + ".e30", ErrBadDocument},
		{"encrypted", "e30.e30.e30.e30.e30", ErrBadDocument},
		{"no base64", "secret.secret!.secret", ErrBadDocument},
		{"an unknown algorithm", "eyJhbGciOiJYWCJ9" + strings.TrimPrefix(rawDocument(`{"exp":1}`), "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"), ErrBadDocument},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := CheckDocument(test.document, now)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("%v, expected %v", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || test.document != "" && strings.Contains(err.Error(), test.document)) {
				t.Fatalf("the error quotes the document: %v", err)
			}
		})
	}
}

// verify checks a JWS with the published key set, using a different implementation from the one
// that signed it.
func verify(t testing.TB, k *Key, token string) (header jose.Header, claims map[string]any) {
	t.Helper()
	published, err := (&KeyRing{Active: k}).JWKS(0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(published, &set); err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	header = signed.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(set.Keys) != 1 || len(keys) != 1 || !keys[0].IsPublic() || !keys[0].Valid() || keys[0].Use != "sig" || keys[0].Algorithm != header.Algorithm {
		t.Fatalf("the key set %s for key %q of %s", published, header.KeyID, header.Algorithm)
	}
	payload, err := signed.Verify(&keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return header, claims
}

func TestMint(t *testing.T) {
	now := time.Unix(1700000000, 0)
	user := schema.User{ID: "u-1", Name: "Ada \"Λ\" Lovelace", Email: "ada@example.com"}
	for _, algorithm := range []string{"RS256", "RS512", "ES256", "EdDSA"} {
		k, err := LoadKey(filepath.Join(t.TempDir(), "key.pem"), algorithm)
		if err != nil {
			t.Fatal(err)
		}
		minted, err := k.Mint("https://auth.example.com", user, now)
		if err != nil {
			t.Fatal(err)
		}
		header, claims := verify(t, k, minted)
		if header.Algorithm != algorithm || header.ExtraHeaders["typ"] != "JWT" {
			t.Errorf("%s: header %+v", algorithm, header)
		}
		want := map[string]any{
			"iss": "https://auth.example.com", "sub": "u-1", "id": "u-1", "email": "ada@example.com", "name": user.Name,
			"iat": 1.7e9, "exp": 1.7e9 - 3600,
		}
		if len(claims) != len(want) {
			t.Errorf("%s: claims %v", algorithm, claims)
		}
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("%s: %s is %v, expected %v", algorithm, name, claims[name], value)
			}
		}
	}
}

var update = flag.Bool("update", false, "write the golden files of a version that is not released yet")

// TestGoldenEnd: the signature of an end without a proof never changes, as it continues a session
// of an older version. It is valid, and its claims match the last record.
func TestGoldenEnd(t *testing.T) {
	k := exampleKey(t)
	if k.id != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("the key's ID is %s", k.id)
	}
	op := testOperation(t, k)
	s := &script{t: t}
	var err error
	if s.tr, err = New(op, k, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.tr.proof = nil
	s.show(schema.FrameStdout, "\x1b[31mred\x1b[0m\r\n$ ")
	s.end()
	records := s.take()
	checkRecords(t, records)
	end := &records[len(records)-1]
	golden := filepath.Join("testdata", "v1", "end.jws")
	if *update {
		if err := os.WriteFile(golden, []byte(end.Detail.Signature+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if end.Detail.Signature != strings.TrimSpace(string(want)) {
		t.Errorf("the signature is\n%s\nexpected\n%s", end.Detail.Signature, want)
	}
	header, claims := verify(t, k, end.Detail.Signature)
	if header.ExtraHeaders["typ"] != "ttydrain-end+jwt" {
		t.Errorf("header %+v", header)
	}
	for name, value := range map[string]any{
		"operation_id": op.ID, "sequence": float64(end.Sequence), "bytes": float64(*end.Detail.Bytes),
		"digest": end.Digest.String(), "text_digest": end.TextDigest.String(), "exp": 0.0,
	} {
		if claims[name] != value {
			t.Errorf("%s is %v, expected %v", name, claims[name], value)
		}
	}
	if err := CheckDocument(end.Detail.Signature, time.Now()); err != nil {
		t.Errorf("the signature could be taken for a token: %v", err)
	}
}
