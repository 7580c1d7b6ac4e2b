package enrich

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ttydrain/ttydrain/schema"
)

func published(t *testing.T, r *KeyRing, keep time.Duration, now time.Time) (ids []string) {
	t.Helper()
	data, err := r.JWKS(keep, now)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			t.Error("a private key is published")
		}
		ids = append(ids, k.KeyID)
	}
	return ids
}

func TestRotateKey(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Now()
	for _, algorithm := range []string{"EdDSA", "ES256", "RS512"} {
		path := filepath.Join(t.TempDir(), "key.pem")
		first, err := LoadKeyRing(path, algorithm, true)
		if err != nil {
			t.Fatal(err)
		}
		second, err := RotateKey(path, algorithm, 0, start)
		if err != nil {
			t.Fatal(err)
		}
		third, err := RotateKey(path, algorithm, 0, start.Add(10*day))
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{third.Active.ID(), second.Active.ID(), first.Active.ID()}
		if ids[0] == ids[1] || ids[1] == ids[2] || third.Active.Algorithm() != algorithm {
			t.Errorf("%s: the keys are %q, of %s", algorithm, ids, third.Active.Algorithm())
		}
		for _, test := range []struct {
			keep, after time.Duration
			want        int
		}{{0, 1000 * day, 3}, {30 * day, 10 * day, 3}, {30 * day, 30 * day, 2}, {30 * day, 41 * day, 1}} {
			if got := published(t, third, test.keep, start.Add(test.after)); !slices.Equal(got, ids[:test.want]) {
				t.Errorf("%s: kept for %s, after %s: %q of %q", algorithm, test.keep, test.after, got, ids)
			}
		}
		// Older signatures are valid with the published keys.
		document, err := first.Active.Mint("i", schema.User{ID: "u-1"}, start)
		if err != nil {
			t.Fatal(err)
		}
		if header, _ := verify(t, first.Active, document); header.KeyID != ids[2] {
			t.Errorf("%s: the document names the key %s", algorithm, header.KeyID)
		}
		// A rotation removes keys that are no longer published.
		fourth, err := RotateKey(path, algorithm, 5*day, start.Add(11*day))
		if err != nil {
			t.Fatal(err)
		}
		if len(fourth.Retired) != 2 || fourth.Retired[0].Key.KeyID != ids[0] || fourth.Retired[1].Key.KeyID != ids[1] {
			t.Errorf("%s: retired are %+v", algorithm, fourth.Retired)
		}
	}
}

// TestRotateInterrupted: a rotation that failed before creating the new key has changed nothing.
func TestRotateInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	before, err := LoadKeyRing(path, "", true)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKey(path, "", 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := LoadKeyRing(path, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if got := published(t, after, 0, time.Now()); len(got) != 1 || got[0] != before.Active.ID() {
		t.Errorf("published are %q", got)
	}
	again, err := RotateKey(path, "", 0, time.Now())
	if err != nil || len(again.Retired) != 1 {
		t.Errorf("the next rotation: %+v, %v", again, err)
	}
}

// TestRotateConcurrently: concurrent rotations lose no key.
func TestRotateConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if _, err := LoadKeyRing(path, "", true); err != nil {
		t.Fatal(err)
	}
	const times = 8
	var all sync.WaitGroup
	for range times {
		all.Go(func() {
			if _, err := RotateKey(path, "", 0, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ring, err := LoadKeyRing(path, "", false)
	if err != nil || len(ring.Retired) != times {
		t.Errorf("%d retired keys, %v", len(ring.Retired), err)
	}
}

func TestBadRetiredKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if _, err := RotateKey(path, "", 0, time.Now()); err == nil {
		t.Error("rotated a key that does not exist")
	}
	if _, err := LoadKeyRing(path, "", true); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"keys":[{}]}`, `{"keys":[{"key":{"kty":"oct","k":"aHVudGVy"}}]}`} {
		if err := os.WriteFile(path+retiredSuffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyRing(path, "", false); err == nil || !strings.Contains(err.Error(), path+retiredSuffix) || strings.Contains(err.Error(), "aHVudGVy") {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := RotateKey(path, "", 0, time.Now()); err == nil {
			t.Errorf("%q: rotated, and what is in the file would be lost", text)
		}
	}
}
