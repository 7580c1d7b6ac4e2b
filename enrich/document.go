package enrich

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ttydrain/ttydrain/schema"
)

// expiredFor is the time between a user document's expiry and its minting. Verifiers that tolerate
// clock skew accept a token for seconds or minutes after its expiry: an hour exceeds all of these.
const expiredFor = time.Hour

// ErrLiveDocument is returned for a user document that has not expired and so could authorize
// something.
var ErrLiveDocument = errors.New("refused the user document: it has not expired")

// ErrBadDocument is returned for a user document that is not a JWT or has no expiry.
var ErrBadDocument = errors.New("refused the user document: it is not a JWT with an expiry")

// Mint returns the user document of a user: a JWT (RFC 7519) with iss, sub, id, email, name, iat
// and exp, where exp is an hour before iat. It identifies the user and authorizes nothing.
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

// CheckDocument returns an error unless a user document is a JWT whose exp is before now. It does
// not verify the signature. The error never contains the document.
func CheckDocument(document string, now time.Time) error {
	// jwt.RegisteredClaims accepts "EXP" as exp, truncates fractions, and wraps a number that is
	// out of range, so a document could be expired here and live elsewhere.
	claims := make(jwt.MapClaims)
	// The only place that parses without verifying: the expiry alone makes a document harmless.
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

// Sign signs an object, as JSON, as a compact JWS (RFC 7515). Its typ identifies its purpose, and
// it has no subject and an exp in the past, so that no service accepts it as an access token.
func (k *Key) Sign(typ string, object any) (string, error) { return k.sign(typ, object, "") }

// sign signs an object, with a delegation if it is not "".
func (k *Key) sign(typ string, object any, delegation string) (string, error) {
	payload, err := json.Marshal(object)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	claims := jwt.MapClaims{"exp": 0}
	for name, value := range fields {
		claims[name] = value
	}
	token := jwt.NewWithClaims(k.method, claims)
	token.Header["kid"] = k.id
	token.Header["typ"] = typ
	if delegation != "" {
		token.Header[schema.HeaderDelegation] = delegation
	}
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed, nil
}
