package enrich

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// retiredSuffix is appended to the name of the signing key's file for the file of retired public
// keys.
const retiredSuffix = ".retired.json"

// RetiredKey is the public half of a key that no longer signs. Its signatures can be verified as
// long as it is published.
type RetiredKey struct {
	Key     jose.JSONWebKey `json:"key"`
	Retired time.Time       `json:"retired"`
}

// KeyRing holds the signing key and the public halves of retired keys. It is immutable.
type KeyRing struct {
	Active  *Key
	Retired []RetiredKey // the most recently retired first
}

// LoadKeyRing reads the signing key at path and the retired keys beside it. If create is set, a
// missing signing key is created.
func LoadKeyRing(path, algorithm string, create bool) (*KeyRing, error) {
	read := ReadKey
	if create {
		read = LoadKey
	}
	active, err := read(path, algorithm)
	if err != nil {
		return nil, err
	}
	retired, err := readRetired(path)
	if err != nil {
		return nil, err
	}
	// An interrupted rotation has retired the key without replacing it.
	retired = slices.DeleteFunc(retired, func(r RetiredKey) bool { return r.Key.KeyID == active.id })
	return &KeyRing{active, retired}, nil
}

func readRetired(path string) ([]RetiredKey, error) {
	path += retiredSuffix
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("retired keys: %w", err)
	}
	var file struct{ Keys []RetiredKey }
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("retired keys %s: %w: restore the file: without it, signatures of retired keys cannot be verified", path, err)
	}
	for _, r := range file.Keys {
		if !r.Key.Valid() || !r.Key.IsPublic() {
			return nil, fmt.Errorf("retired keys %s: one of its keys is not a public key", path)
		}
	}
	return file.Keys, nil
}

// JWKS returns the JSON Web Key Set (RFC 7517 §5) of the public keys at a time: first the signing
// key, then those retired within keep, or all if keep is 0.
func (r *KeyRing) JWKS(keep time.Duration, now time.Time) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{*r.Active.jwk()}}
	for _, retired := range r.Retired {
		if keep == 0 || now.Sub(retired.Retired) < keep {
			set.Keys = append(set.Keys, retired.Key)
		}
	}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the key set: %w", err)
	}
	return data, nil
}

// RotateKey replaces the signing key at path by a new one for the same algorithm. The public half
// of the old key is added to the retired keys beside it, its private half is deleted. If keep is
// not 0, keys that were retired for longer than keep are removed.
//
// The old key is retired before the new key exists, so an interruption loses nothing, and each file
// is replaced atomically. Concurrent rotations run one after another.
func RotateKey(path, algorithm string, keep time.Duration, now time.Time) (*KeyRing, error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("rotate the signing key: %w", err)
	}
	defer folder.Close() // which also unlocks it
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("rotate the signing key: lock its folder: %w", err)
	}
	ring, err := LoadKeyRing(path, algorithm, false)
	if err != nil {
		return nil, err
	}
	retired := append([]RetiredKey{{*ring.Active.jwk(), now.UTC().Truncate(time.Second)}}, ring.Retired...)
	retired = slices.DeleteFunc(retired, func(r RetiredKey) bool { return keep != 0 && now.Sub(r.Retired) >= keep })
	data, err := json.MarshalIndent(struct {
		Keys []RetiredKey `json:"keys"`
	}{retired}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the retired keys: %w", err)
	}
	private, err := generateKey(ring.Active.Algorithm())
	if err != nil {
		return nil, fmt.Errorf("rotate the signing key: %w", err)
	}
	if err := writeWhole(path+retiredSuffix, append(data, '\n'), os.Rename); err != nil {
		return nil, fmt.Errorf("write the retired keys: %w", err)
	}
	if err := writeWhole(path, private, os.Rename); err != nil {
		return nil, fmt.Errorf("write the new signing key: %w", err)
	}
	return LoadKeyRing(path, algorithm, false)
}
