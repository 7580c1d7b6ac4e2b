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

// retiredSuffix makes the name of the file with the retired public keys out of the signing key's.
const retiredSuffix = ".retired.json"

// A RetiredKey is the public half of a key that signs nothing any more. What it has signed can be
// verified as long as it is published.
type RetiredKey struct {
	Key     jose.JSONWebKey `json:"key"`
	Retired time.Time       `json:"retired"`
}

// A KeyRing is the key that signs, and the public halves of those that did. It does not change.
type KeyRing struct {
	Active  *Key
	Retired []RetiredKey // the one that was retired last first
}

// LoadKeyRing reads the signing key at path, and the retired ones beside it. A signing key that is
// missing is made where create says so.
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
	// A rotation that was interrupted has retired the key, and not replaced it.
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
		return nil, fmt.Errorf("retired keys %s: %w: restore the file, or what the retired keys have signed cannot be verified", path, err)
	}
	for _, r := range file.Keys {
		if !r.Key.Valid() || !r.Key.IsPublic() {
			return nil, fmt.Errorf("retired keys %s: a key in it is no public key", path)
		}
	}
	return file.Keys, nil
}

// JWKS is the JSON Web Key Set (RFC 7517 §5) of the public keys at a time: the one that signs
// first, and those that were retired within keep, or all where keep is 0.
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

// RotateKey replaces the signing key at path by a new one for the algorithm of the old one, whose
// public half goes to the retired ones beside it; those that were retired for longer than keep are
// left out, if keep is not 0. The private half of the old one is gone.
//
// The old key is retired before the new one is there, so that an interruption loses nothing, and
// each file is replaced as a whole. Several that rotate at once do it one after another.
func RotateKey(path, algorithm string, keep time.Duration, now time.Time) (*KeyRing, error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("rotate the signing key: %w", err)
	}
	defer folder.Close() // which unlocks it
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
