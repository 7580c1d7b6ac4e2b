package enrich

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// minRSA is the length of a generated RSA key in bits, and the minimum for a loaded one.
const minRSA = 2048

// Key signs user documents and the ends of sessions.
type Key struct {
	private crypto.Signer
	method  jwt.SigningMethod
	id      string // the thumbprint (RFC 7638)
}

// LoadKey is like [ReadKey], but creates a key if the file does not exist. Without an algorithm,
// the key is for EdDSA, which has the shortest signatures.
func LoadKey(path, algorithm string) (*Key, error) {
	k, err := ReadKey(path, algorithm)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := createKey(path, algorithm); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return ReadKey(path, algorithm)
}

// ReadKey reads a private key from a PEM file (PKCS #8, or PKCS #1 or SEC 1 as openssl writes
// them). algorithm is RS256, RS512, ES256 or EdDSA; "" selects the one that fits the key.
func ReadKey(path, algorithm string) (*Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	k, err := parseKey(data, algorithm)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	return k, nil
}

// createKey writes a new key. It links the complete file into place, so that two processes that
// start at once use the same key: the second one finds the key of the first.
func createKey(path, algorithm string) error {
	data, err := generateKey(algorithm)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeWhole(path, data, os.Link)
}

// generateKey returns a new private key in PEM.
func generateKey(algorithm string) ([]byte, error) {
	var private any
	var err error
	switch algorithm {
	case "RS256", "RS512":
		private, err = rsa.GenerateKey(rand.Reader, minRSA)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA", "":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("algorithm %q: expected RS256, RS512, ES256 or EdDSA", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode the new key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// writeWhole writes a file atomically, with mode 0600. place is os.Link, which keeps an existing
// file, or os.Rename, which replaces it. The file is synced when writeWhole returns.
func writeWhole(path string, data []byte, place func(from, to string) error) error {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".key-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func parseKey(data []byte, algorithm string) (*Key, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not a PEM file: expected an unencrypted private key (PKCS #8)")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if rsaKey, err1 := x509.ParsePKCS1PrivateKey(block.Bytes); err1 == nil {
			parsed = rsaKey
		} else if ecKey, err2 := x509.ParseECPrivateKey(block.Bytes); err2 == nil {
			parsed = ecKey
		} else {
			return nil, fmt.Errorf("PEM block %q is not an unencrypted private key: expected PKCS #8", block.Type)
		}
	}
	return newKey(parsed, algorithm)
}

// newKey returns a key for a private key of package crypto.
func newKey(parsed any, algorithm string) (*Key, error) {
	k := new(Key)
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := private.N.BitLen(); bits < minRSA { // RFC 7518 §3.3
			return nil, fmt.Errorf("RSA key of %d bits: expected at least %d", bits, minRSA)
		}
		k.private, k.method = private, jwt.SigningMethodRS256
		if algorithm == "RS512" {
			k.method = jwt.SigningMethodRS512
		}
	case *ecdsa.PrivateKey:
		if private.Curve != elliptic.P256() {
			return nil, fmt.Errorf("elliptic curve key on %s: expected P-256", private.Curve.Params().Name)
		}
		k.private, k.method = private, jwt.SigningMethodES256
	case ed25519.PrivateKey:
		k.private, k.method = private, jwt.SigningMethodEdDSA
	default:
		return nil, fmt.Errorf("key of type %T: expected RSA, ECDSA or Ed25519", parsed)
	}
	if algorithm != "" && algorithm != k.method.Alg() {
		return nil, fmt.Errorf("the key is for %s, but %s is configured: change the algorithm or use another key", k.method.Alg(), algorithm)
	}
	thumbprint, err := k.jwk().Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	k.id = base64.RawURLEncoding.EncodeToString(thumbprint)
	return k, nil
}

func (k *Key) jwk() *jose.JSONWebKey {
	return &jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: k.method.Alg(), Use: "sig"}
}

// ID returns the key's ID (kid): its thumbprint (RFC 7638).
func (k *Key) ID() string { return k.id }

// Algorithm returns the name of the key's signature algorithm.
func (k *Key) Algorithm() string { return k.method.Alg() }
