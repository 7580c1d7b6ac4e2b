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
	// ErrUnknownKey is the error of a signature by a key that is not in the set.
	ErrUnknownKey = errors.New("it is signed with a key that is not in the key set")
	// ErrFalseSignature is the error of a signature by nobody, or for something else.
	ErrFalseSignature = errors.New("its signature is not valid")
)

// CheckCritical reports an error where the header of a token, in compact form, is no JSON object,
// or names extensions that must be understood (crit, RFC 7515 §4.1.11): none is. It verifies
// nothing. The error quotes nothing.
func CheckCritical(token string) error {
	encoded, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	var header map[string]json.RawMessage
	if err != nil || json.Unmarshal(data, &header) != nil || header == nil {
		return errors.New("it is no token that is taken here")
	}
	if _, ok := header["crit"]; ok {
		return errors.New("it needs an extension that is not known here (crit)")
	}
	return nil
}

// signingAlgorithms are those that ttydrain itself signs with.
var signingAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.ES256, jose.EdDSA}

// Verify verifies what ttydrain has signed (JWS in compact form, RFC 7515), and gives its type
// (typ) and what it says. When it was signed, and until when it is good, is not looked at. The
// errors quote nothing.
func (s KeySet) Verify(signed string) (typ string, payload []byte, err error) {
	for part := range strings.SplitSeq(signed, ".") { // other libraries take bits in the last letter that mean nothing
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
