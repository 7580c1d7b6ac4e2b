package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxKeySet is the maximum size of a key set in bytes.
const maxKeySet = 1 << 20

// minRSA is the minimum length of an RSA key in bits (RFC 7518 §3.3).
const minRSA = 2048

// KeySet holds public keys that sign tokens. It is immutable.
type KeySet struct{ keys []jose.JSONWebKey }

// ParseKeySet parses a JSON Web Key Set (RFC 7517 §5). It skips keys that are not for signatures
// (use), secret, too short, or of unknown types; a set without any other key is an error, which
// contains nothing of the data.
func ParseKeySet(data []byte) (KeySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &raw); err != nil || raw.Keys == nil {
		return KeySet{}, errors.New(`is not a JSON Web Key Set; expected {"keys": […]}`)
	}
	var set KeySet
	for _, one := range raw.Keys {
		var key jose.JSONWebKey
		// Keys of unknown types must be ignored (RFC 7517 §5).
		if key.UnmarshalJSON(one) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if public, ok := key.Key.(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return KeySet{}, errors.New("has no public key for signatures (RSA of 2048 bits or more, ECDSA or Ed25519)")
	}
	return set, nil
}

// ParsePublicKey returns the set of one public key in a PEM file (PKIX), as "openssl pkey -pubout"
// writes it. Its ID is its thumbprint (RFC 7638), as that of a signing key is.
func ParsePublicKey(data []byte) (KeySet, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return KeySet{}, errors.New("is not a public key in PEM; expected BEGIN PUBLIC KEY")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return KeySet{}, fmt.Errorf("is not a public key: %w", err)
	}
	key := jose.JSONWebKey{Key: public, Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return KeySet{}, fmt.Errorf("is not a public key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	encoded, err := key.MarshalJSON()
	if err != nil {
		return KeySet{}, fmt.Errorf("is not a public key: %w", err)
	}
	return ParseKeySet(fmt.Appendf(nil, `{"keys":[%s]}`, encoded))
}

// find returns the keys that may have signed a token with an algorithm and a key ID; without a key
// ID, all keys for the algorithm.
func (s KeySet) find(_ context.Context, id, algorithm string) ([]crypto.PublicKey, error) {
	var found []crypto.PublicKey
	for _, k := range s.keys {
		if (id == "" || k.KeyID == id) && (k.Algorithm == "" || k.Algorithm == algorithm) && fits(k.Key, algorithm) {
			found = append(found, k.Key)
		}
	}
	if len(found) == 0 {
		return nil, errUnknownKey
	}
	return found, nil
}

var (
	errUnknownKey = errors.New("no key for it is known")
	errNoKeys     = errors.New("the keys could not be fetched")
)

// fits reports whether a key can be used with an algorithm.
func fits(key crypto.PublicKey, algorithm string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return algorithm[:2] == "RS" || algorithm[:2] == "PS"
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[algorithm] == k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// RemoteOptions describe a remote key set. Only Log is optional.
type RemoteOptions struct {
	URL    string
	Client *http.Client
	// Refresh is the age at which a set is fetched again; the old one stays in use meanwhile.
	Refresh time.Duration
	// MaxStale is the maximum age of a set in use: one that can no longer be fetched is not trusted
	// for longer.
	MaxStale time.Duration
	Log      *slog.Logger
}

const (
	// fetchTimeout limits one fetch.
	fetchTimeout = 10 * time.Second
	// fetchPause is the minimum time between two fetches, which limits those caused by tokens with
	// invented key IDs.
	fetchPause = 5 * time.Second
)

// RemoteKeys is a key set at a URL. It is fetched on first use, again in the background when it is
// used and older than Refresh, and immediately for an unknown key, since keys are rotated. Nothing
// runs while it is not used.
type RemoteKeys struct {
	o RemoteOptions

	mu      sync.Mutex // guards what follows
	set     KeySet
	fetched time.Time     // when the set was fetched; zero for never
	tried   time.Time     // when the last fetch was started
	running chan struct{} // closed at the end of the running fetch; nil if none is running
}

// NewRemoteKeys returns the keys without fetching them yet.
func NewRemoteKeys(o RemoteOptions) *RemoteKeys {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &RemoteKeys{o: o}
}

func (r *RemoteKeys) find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error) {
	set, age := r.cached()
	if age < r.o.MaxStale {
		if found, err := set.find(ctx, id, algorithm); err == nil {
			if age >= r.o.Refresh {
				r.fetch() // in the background, without waiting
			}
			return found, nil
		}
	}
	if wait := r.fetch(); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, errNoKeys
		}
	}
	if set, age = r.cached(); age >= r.o.MaxStale {
		return nil, errNoKeys
	}
	return set.find(ctx, id, algorithm)
}

// cached returns the set and its age.
func (r *RemoteKeys) cached() (KeySet, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched.IsZero() {
		return r.set, r.o.MaxStale
	}
	return r.set, time.Since(r.fetched)
}

// fetch starts a fetch, or joins the running one, and returns a channel that is closed at its end;
// nil if the last one was just now.
func (r *RemoteKeys) fetch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		return r.running
	}
	if !r.tried.IsZero() && time.Since(r.tried) < fetchPause {
		return nil
	}
	done := make(chan struct{})
	r.tried, r.running = time.Now(), done
	go func() { // ends with the fetch, which has a timeout
		defer close(done)
		set, err := r.get()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running = nil
		if err != nil {
			r.o.Log.Warn("keys of access tokens not fetched", "url", r.o.URL, "error", err, "fetched_last", r.fetched)
			return
		}
		r.set, r.fetched = set, time.Now()
	}()
	return done
}

func (r *RemoteKeys) get() (KeySet, error) {
	return FetchKeySet(context.Background(), r.o.Client, r.o.URL)
}

// FetchKeySet fetches a key set, within ten seconds. It refuses http, except from this machine,
// also for the URLs of redirects: a party that can change the set in transit can forge signatures.
func FetchKeySet(ctx context.Context, client *http.Client, address string) (KeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return KeySet{}, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if err := checkProtected(request.URL); err != nil {
		return KeySet{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return KeySet{}, err
	}
	defer response.Body.Close()
	for redirected := response.Request; redirected.Response != nil; redirected = redirected.Response.Request {
		if err := checkProtected(redirected.URL); err != nil {
			return KeySet{}, fmt.Errorf("redirected to %s: %w", redirected.URL.Redacted(), err)
		}
	}
	if response.StatusCode != http.StatusOK {
		return KeySet{}, fmt.Errorf("the response is %s", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return KeySet{}, err
	}
	if len(data) > maxKeySet {
		return KeySet{}, fmt.Errorf("the response is longer than %d KiB", maxKeySet>>10)
	}
	set, err := ParseKeySet(data)
	if err != nil {
		return KeySet{}, fmt.Errorf("the response %w", err)
	}
	return set, nil
}

// checkProtected returns an error if data from a URL could be changed in transit.
func checkProtected(u *url.URL) error {
	if u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback() {
		return errors.New("http can be changed in transit: expected an https:// URL")
	}
	return nil
}
