package enrich

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ttydrain/ttydrain/schema"
)

func TestRotatingKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	first, err := LoadKeyRing(path, "EdDSA", true)
	if err != nil {
		t.Fatal(err)
	}
	key := NewRotatingKey(first, time.Hour)
	check := func(active *Key, published int) {
		t.Helper()
		document, err := key.Mint("https://auth.example.com", schema.User{ID: "u-1"})
		if err != nil {
			t.Fatal(err)
		}
		if header, _ := verify(t, active, document); header.KeyID != active.ID() {
			t.Errorf("the document names the key %s, want %s", header.KeyID, active.ID())
		}
		end, err := key.Sign(schema.SignedEnd, schema.Totals{Operation: "42"})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, active, end)
		data, err := key.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		if len(set.Keys) != published || set.Keys[0].KeyID != active.ID() {
			t.Errorf("published are %s", data)
		}
	}
	check(first.Active, 1)
	second, err := RotateKey(path, "EdDSA", 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	check(first.Active, 1) // until the new ring is used
	key.Use(second)
	check(second.Active, 2)
	old, err := RotateKey(path, "EdDSA", 0, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	key.Use(old)
	check(old.Active, 2) // the key that was retired two hours ago is no longer published
}
