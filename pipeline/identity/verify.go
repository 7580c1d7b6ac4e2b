package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
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
// payload. It does not check times. Errors contain nothing of the data.
func (s KeySet) Verify(signed string) (typ string, payload []byte, err error) {
	for part := range strings.SplitSeq(signed, ".") { // other libraries accept unused bits in the last letter
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return "", nil, ErrFalseSignature
		}
	}
	if CheckCritical(signed) != nil {
		return "", nil, ErrFalseSignature
	}
	parsed, err := jose.ParseSignedCompact(signed, signingAlgorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return "", nil, ErrFalseSignature
	}
	header := parsed.Signatures[0].Header
	keys, err := s.find(context.Background(), header.KeyID, header.Algorithm)
	if err != nil {
		return "", nil, ErrUnknownKey
	}
	for _, key := range keys {
		if payload, err = parsed.Verify(key); err == nil {
			typ, _ = header.ExtraHeaders[jose.HeaderType].(string)
			return typ, payload, nil
		}
	}
	return "", nil, ErrFalseSignature
}
