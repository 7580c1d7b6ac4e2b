package identity_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/schema"
)

// TestDelegation: a key to which a key of the set has delegated one type of signatures signs that
// type, and no other; and it cannot delegate further.
func TestDelegation(t *testing.T) {
	dir := t.TempDir()
	signing, err := enrich.LoadKey(filepath.Join(dir, "key.pem"), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := enrich.LoadKey(filepath.Join(dir, "stranger.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := (&enrich.KeyRing{Active: signing}).JWKS(0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := identity.ParseKeySet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	delegated := func(name string, by *enrich.Key) *enrich.GapKey {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := enrich.CreateGapKey(path, by); err != nil {
			t.Fatal(err)
		}
		key, err := enrich.ReadGapKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, test := range []struct {
		name string
		sign func(typ string, object any) (string, error)
		typ  string
		want error
	}{
		{"a key of the set", signing.Sign, schema.SignedEnd, nil},
		{"a delegated key", delegated("gap.pem", signing).Sign, schema.SignedGap, nil},
		{"a delegated key that signs something else", delegated("gap.pem", signing).Sign, schema.SignedEnd, identity.ErrUnknownKey},
		{"a delegated key that delegates", delegated("gap.pem", signing).Sign, schema.SignedDelegation, identity.ErrUnknownKey},
		{"a key that a stranger delegated to", delegated("other.pem", stranger).Sign, schema.SignedGap, identity.ErrUnknownKey},
		{"a stranger", stranger.Sign, schema.SignedGap, identity.ErrUnknownKey},
	} {
		signed, err := test.sign(test.typ, map[string]string{"operation_id": "42"})
		if err != nil {
			t.Fatal(err)
		}
		typ, payload, err := set.Verify(signed)
		if !errors.Is(err, test.want) || err == nil && (typ != test.typ || len(payload) == 0) {
			t.Errorf("%s: %s, %s, %v", test.name, typ, payload, err)
		}
	}
}
