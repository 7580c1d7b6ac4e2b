package enrich

import (
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A RotatingKey signs with the active key of a ring that can be replaced while it is in use. It is
// safe for concurrent use.
type RotatingKey struct {
	ring atomic.Pointer[KeyRing]
	keep time.Duration
}

// NewRotatingKey returns a RotatingKey that publishes retired keys for the duration keep, or
// forever if keep is 0.
func NewRotatingKey(ring *KeyRing, keep time.Duration) *RotatingKey {
	k := &RotatingKey{keep: keep}
	k.Use(ring)
	return k
}

// Use replaces the ring.
func (k *RotatingKey) Use(ring *KeyRing) { k.ring.Store(ring) }

// Mint returns the user document of a user: see [Key.Mint].
func (k *RotatingKey) Mint(issuer string, user schema.User) (string, error) {
	return k.ring.Load().Active.Mint(issuer, user, time.Now())
}

// Sign implements [Signer].
func (k *RotatingKey) Sign(typ string, object any) (string, error) {
	return k.ring.Load().Active.Sign(typ, object)
}

// JWKS returns the public keys as a JSON Web Key Set: see [KeyRing.JWKS].
func (k *RotatingKey) JWKS() ([]byte, error) { return k.ring.Load().JWKS(k.keep, time.Now()) }
