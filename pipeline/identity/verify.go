package identity

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/ttydrain/ttydrain/schema"
)

var (
	// ErrUnknownKey is returned for a signature by a key that is not in the set.
	ErrUnknownKey = errors.New("it is signed with a key that is not in the key set")
	// ErrFalseSignature is returned for an invalid signature.
	ErrFalseSignature = errors.New("its signature is not valid")
)

// CheckCritical returns an error if the header of a compact token is not a JSON object, or has
// critical extensions (crit, RFC 7515 §4.1.11), as none is supported. It verifies nothing else. The
// error contains nothing of the token.
func CheckCritical(token string) error {
	encoded, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	var header map[string]json.RawMessage
	if err != nil || json.Unmarshal(data, &header) != nil || header == nil {
		return errors.New("it is not a valid token")
	}
	if _, ok := header["crit"]; ok {
		return errors.New("it requires an extension that is not supported (crit)")
	}
	return nil
}

// signingAlgorithms are the algorithms that ttydrain itself signs with.
var signingAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.ES256, jose.EdDSA}

// Verify verifies a compact JWS (RFC 7515) that ttydrain has signed, and returns its type (typ) and
// payload. The key is one of the set, or one to which a key of the set has delegated signatures of
// this type (see [schema.Delegation]). It does not check times. Errors contain nothing of the data.
func (s KeySet) Verify(signed string) (typ string, payload []byte, err error) {
	parsed, err := parseSigned(signed)
	if err != nil {
		return "", nil, err
	}
	header := parsed.Signatures[0].Header
	typ, _ = header.ExtraHeaders[jose.HeaderType].(string)
	var keys []crypto.PublicKey
	if delegation, ok := header.ExtraHeaders[schema.HeaderDelegation]; ok {
		text, _ := delegation.(string)
		keys, err = s.delegated(text, typ, header.Algorithm)
	} else {
		keys, err = s.find(context.Background(), header.KeyID, header.Algorithm)
	}
	if err != nil {
		return "", nil, ErrUnknownKey
	}
	for _, key := range keys {
		if payload, err = parsed.Verify(key); err == nil {
			return typ, payload, nil
		}
	}
	return "", nil, ErrFalseSignature
}

// SignedBy returns the ID of the key (kid) that a compact JWS names, which is not verified; "" for
// none. With a delegation, it is that of the delegated key.
func SignedBy(signed string) string {
	parsed, err := parseSigned(signed)
	if err != nil {
		return ""
	}
	return parsed.Signatures[0].Header.KeyID
}

// delegated returns the key that a delegation names, if it is for signatures of a type and a key of
// the set itself has signed it.
func (s KeySet) delegated(delegation, typ, algorithm string) ([]crypto.PublicKey, error) {
	parsed, err := parseSigned(delegation)
	if err != nil {
		return nil, err
	}
	header := parsed.Signatures[0].Header
	keys, err := s.find(context.Background(), header.KeyID, header.Algorithm)
	if err != nil || header.ExtraHeaders[jose.HeaderType] != schema.SignedDelegation {
		return nil, errUnknownKey
	}
	for _, key := range keys {
		payload, err := parsed.Verify(key)
		if err != nil {
			continue
		}
		var d schema.Delegation
		var public jose.JSONWebKey
		if json.Unmarshal(payload, &d) != nil || d.Type != typ || public.UnmarshalJSON(d.Key) != nil || !public.Valid() || !public.IsPublic() || !fits(public.Key, algorithm) {
			return nil, errUnknownKey
		}
		return []crypto.PublicKey{public.Key}, nil
	}
	return nil, errUnknownKey
}

// parseSigned parses a compact JWS with one signature, strictly.
func parseSigned(signed string) (*jose.JSONWebSignature, error) {
	for part := range strings.SplitSeq(signed, ".") { // other libraries accept unused bits in the last letter
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, ErrFalseSignature
		}
	}
	if CheckCritical(signed) != nil {
		return nil, ErrFalseSignature
	}
	parsed, err := jose.ParseSignedCompact(signed, signingAlgorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, ErrFalseSignature
	}
	return parsed, nil
}
