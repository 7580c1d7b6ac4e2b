package identity

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ttydrain/ttydrain/schema"
)

// Keys finds the keys of tokens: a [KeySet] or [RemoteKeys].
type Keys interface {
	find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error)
}

// TokenOptions describe which tokens are valid. All fields are required.
type TokenOptions struct {
	Issuer, Audience string
	// Algorithms are some of [Algorithms]. A token's header cannot select any other.
	Algorithms []string
	Keys       Keys
}

// leeway is the tolerated difference between the clocks of an issuer and this machine.
const leeway = 30 * time.Second

// maxToken is the maximum length of a token in bytes.
const maxToken = 16 << 10

// Tokens verifies access tokens.
type Tokens struct {
	o      TokenOptions
	parser *jwt.Parser
}

// NewTokens returns a verifier.
func NewTokens(o TokenOptions) *Tokens {
	return &Tokens{o, jwt.NewParser(jwt.WithValidMethods(o.Algorithms), jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway))}
}

// Claims are the claims of a verified token.
type Claims struct {
	// User is the subject: the claim id or, without one, sub; name and email are "" if they are
	// missing. An email counts as missing if email_verified exists and is not true.
	User schema.User
	// Apps is the claim apps: the names of apps, or "stack:" and the name of a stack for all of its
	// apps. It limits the use of the token if Bounded reports that the claim exists.
	Apps    []string
	Bounded bool
}

// Allows reports whether the token may be used for an app.
func (c *Claims) Allows(app, stack string) bool {
	return !c.Bounded || slices.Contains(c.Apps, app) || slices.Contains(c.Apps, stackPrefix+stack)
}

// TokenError is the reason why a token is refused, written for its sender. It contains nothing of
// the token.
type TokenError struct{ reason string }

func (e *TokenError) Error() string { return "the access token is refused: " + e.reason }

// Verify verifies a token (RFC 7519): its signature, iss, aud, exp, which is required, and nbf and
// iat if it has them. All errors are of type *[TokenError].
func (t *Tokens) Verify(ctx context.Context, token string) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, &TokenError{fmt.Sprintf("it is too long: more than %d bytes", maxToken)}
	}
	if err := CheckCritical(token); err != nil {
		return Claims{}, &TokenError{err.Error()}
	}
	// jwt.RegisteredClaims would accept "EXP" as exp.
	claims := make(jwt.MapClaims)
	_, err := t.parser.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		found, err := t.o.Keys.find(ctx, id, token.Method.Alg())
		if err != nil {
			return nil, err
		}
		set := jwt.VerificationKeySet{}
		for _, key := range found {
			set.Keys = append(set.Keys, key)
		}
		return set, nil
	})
	if err != nil {
		return Claims{}, &TokenError{tokenReason(err)}
	}
	return readClaims(claims)
}

// tokenReason returns the reason why a token is invalid. The library's own messages may quote the
// token.
func tokenReason(err error) string {
	for _, known := range []struct {
		err    error
		reason string
	}{
		{errNoKeys, "its issuer's keys could not be fetched: try again in a moment, and if it is refused again, ask the operators"},
		{errUnknownKey, "it is signed with a key that its issuer does not publish"},
		{jwt.ErrTokenSignatureInvalid, "its signature is not valid"},
		{jwt.ErrTokenExpired, "it has expired: log in again"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it was issued in the future"},
		{jwt.ErrTokenInvalidIssuer, "it is from another issuer"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "it lacks one of the claims iss, aud and exp"},
		{jwt.ErrTokenInvalidClaims, "its claims are not valid"},
	} {
		if errors.Is(err, known.err) {
			return known.reason
		}
	}
	return "it is not a valid token"
}

// readClaims returns the relevant claims of a token.
func readClaims(claims jwt.MapClaims) (Claims, error) {
	text := func(name string) (value string, ok bool) {
		given, there := claims[name]
		value, ok = given.(string)
		return value, ok || !there
	}
	var c Claims
	var ok [4]bool
	var subject string
	c.User.ID, ok[0] = text("id")
	subject, ok[1] = text("sub")
	c.User.Name, ok[2] = text("name")
	c.User.Email, ok[3] = text("email")
	if slices.Contains(ok[:], false) {
		return Claims{}, &TokenError{"one of its claims id, sub, name and email is not a string"}
	}
	if c.User.ID == "" {
		c.User.ID = subject
	}
	if verified, there := claims["email_verified"]; there && !IsTrue(verified) {
		c.User.Email = ""
	}
	switch {
	case c.User.ID == "":
		return Claims{}, &TokenError{"it names no user: it has neither id nor sub"}
	case !idForm().MatchString(c.User.ID):
		return Claims{}, &TokenError{"its id or sub is not a valid user ID"}
	case c.User.Name != "" && !isText(c.User.Name):
		return Claims{}, &TokenError{"its claim name is not a valid name"}
	case c.User.Email != "" && !isEmail(c.User.Email):
		return Claims{}, &TokenError{"its claim email is not an e-mail address"}
	}
	apps, bounded := claims["apps"]
	if !bounded {
		return c, nil
	}
	c.Bounded = true
	list, isList := apps.([]any)
	if one, isText := apps.(string); isText {
		list, isList = []any{one}, true
	}
	for _, app := range list {
		name, isText := app.(string)
		isList = isList && isText
		c.Apps = append(c.Apps, name)
	}
	if !isList {
		return Claims{}, &TokenError{"its claim apps is not a list of names"}
	}
	return c, nil
}

// IsTrue reports whether a claim is true. Some issuers encode it as a string.
func IsTrue(claim any) bool { return claim == true || claim == "true" }
