package enrich

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ttydrain/ttydrain/schema"
)

// expiredFor is how long before its minting a user document expired. Verifiers that allow for
// clocks that differ accept a token some seconds or minutes after its expiry: an hour is past all
// of them.
const expiredFor = time.Hour

// ErrLiveDocument is returned for a user document that is not expired: it could open something.
var ErrLiveDocument = errors.New("the user document is not expired and is refused")

// ErrBadDocument is returned for a user document that is no JWT, or has no expiry.
var ErrBadDocument = errors.New("the user document is no JWT with an expiry and is refused")

// Mint makes the user document of a user: a JWT (RFC 7519) with iss, sub, id, email, name, iat and
// exp, where exp is an hour before iat. It says who the user is, and opens nothing.
func (k *Key) Mint(issuer string, user schema.User, now time.Time) (string, error) {
	token := jwt.NewWithClaims(k.method, jwt.MapClaims{
		"iss": issuer, "sub": user.ID, "id": user.ID, "email": user.Email, "name": user.Name,
		"iat": now.Unix(), "exp": now.Add(-expiredFor).Unix(),
	})
	token.Header["kid"] = k.id
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign the user document: %w", err)
	}
	if err := CheckDocument(signed, now); err != nil {
		return "", err
	}
	return signed, nil
}

// CheckDocument says whether a user document may be passed on: it is a JWT whose exp is past at
// now. Whoever signed it is not looked at. The error never quotes the document.
func CheckDocument(document string, now time.Time) error {
	// Not jwt.RegisteredClaims: it takes "EXP" for exp, cuts fractions off, and a number that is no
	// time wraps around in it, so that a document could be expired here and live elsewhere.
	claims := make(jwt.MapClaims)
	// The one place that parses without verifying: what makes a document harmless is its expiry alone.
	if _, _, err := jwt.NewParser().ParseUnverified(document, claims); err != nil {
		return ErrBadDocument
	}
	expires, ok := claims["exp"].(float64)
	if !ok {
		return ErrBadDocument
	}
	if expires >= float64(now.Unix()) {
		return ErrLiveDocument
	}
	return nil
}

// SignEnd signs the totals of a session with a JWS (RFC 7515) in compact form. Its typ says what it
// is, and it has no subject and is expired, so that nobody takes it for a token that opens
// something.
func (k *Key) SignEnd(e End) (string, error) {
	token := jwt.NewWithClaims(k.method, jwt.MapClaims{
		"operation_id": e.Operation, "sequence": e.Sequence, "bytes": e.Bytes,
		"digest": e.Digest.String(), "text_digest": e.TextDigest.String(), "exp": 0,
	})
	token.Header["kid"] = k.id
	token.Header["typ"] = "ttydrain-end+jwt"
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign the end of a session: %w", err)
	}
	return signed, nil
}
