package main

import (
	"sync/atomic"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/schema"
)

// A signer signs with the active key, which can be rotated while ttydrain runs.
type signer struct {
	keys atomic.Pointer[enrich.KeyRing]
	keep time.Duration // the time for which retired keys are published; 0 is forever
}

// openSigner reads the signing key, or creates it if it is missing.
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

// readKeys reads the keys.
func readKeys(u config.UserDocument) (*enrich.KeyRing, error) {
	return enrich.LoadKeyRing(u.SigningKey, u.Algorithm, false)
}

// document returns the signed document of a user, which is expired.
func (s *signer) document(issuer string, user schema.User) (string, error) {
	return s.keys.Load().Active.Mint(issuer, user, time.Now())
}

// SignEnd signs the end of a session, for the enricher.
func (s *signer) SignEnd(e enrich.End) (string, error) { return s.keys.Load().Active.SignEnd(e) }

// jwks returns the public keys as a JSON Web Key Set.
func (s *signer) jwks() []byte {
	set, err := s.keys.Load().JWKS(s.keep, time.Now())
	if err != nil {
		return nil // never: the keys were read from a file
	}
	return set
}
