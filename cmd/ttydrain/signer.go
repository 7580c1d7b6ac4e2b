package main

import (
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/schema"
)

// A signer signs with the key that is in force, which is rotated while ttydrain runs.
type signer struct {
	keys atomic.Pointer[enrich.KeyRing]
	keep time.Duration // how long retired keys are published; 0 for ever
}

// openSigner makes the signing key where it is missing.
func openSigner(u config.UserDocument) (*signer, error) {
	keys, err := enrich.LoadKeyRing(u.SigningKey, u.Algorithm, true)
	if err != nil {
		return nil, err
	}
	s := &signer{keep: u.KeepRetired}
	s.keys.Store(keys)
	_, err = keys.JWKS(s.keep, time.Now())
	return s, err
}

// readKeys reads the keys as they are now.
func readKeys(u config.UserDocument) (*enrich.KeyRing, error) {
	return enrich.LoadKeyRing(u.SigningKey, u.Algorithm, false)
}

func (s *signer) document(issuer string, user schema.User) (string, error) {
	return s.keys.Load().Active.Mint(issuer, user, time.Now())
}

// SignEnd is for the enricher.
func (s *signer) SignEnd(e enrich.End) (string, error) { return s.keys.Load().Active.SignEnd(e) }

// jwks are the public keys.
func (s *signer) jwks() []byte {
	set, err := s.keys.Load().JWKS(s.keep, time.Now())
	if err != nil {
		return nil // never: keys that were read can be written
	}
	return set
}
