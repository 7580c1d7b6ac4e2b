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

// Keys are where the keys of tokens are found: [KeySet] and [RemoteKeys].
type Keys interface {
	find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error)
}

// TokenOptions say which tokens are good. All are needed.
type TokenOptions struct {
	Issuer, Audience string
	// Algorithms are some of [Algorithms]. What a token's own header says counts for nothing beyond
	// them.
	Algorithms []string
	Keys       Keys
}

// leeway is by how much the clocks of an issuer and of this machine may differ.
const leeway = 30 * time.Second

// maxToken is how long a token may be, in bytes.
const maxToken = 16 << 10

// Tokens verifies access tokens.
type Tokens struct {
	o      TokenOptions
	parser *jwt.Parser
}

// NewTokens makes a verifier.
func NewTokens(o TokenOptions) *Tokens {
	return &Tokens{o, jwt.NewParser(jwt.WithValidMethods(o.Algorithms), jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway))}
}

// Claims are what a token that was verified says.
type Claims struct {
	// User is who it is for: the claim id or, without one, sub; name and email, "" where they are
	// missing. An email counts as missing where email_verified is there and not true.
	User schema.User
	// Apps is the claim apps: the names of apps, or "stack:" and the name of a stack for all of its
	// apps. It bounds what the token may be used for, where Bounded says that the claim is there.
	Apps    []string
	Bounded bool
}

// Allows says whether the token may be used for an app.
func (c *Claims) Allows(app, stack string) bool {
	return !c.Bounded || slices.Contains(c.Apps, app) || slices.Contains(c.Apps, stackPrefix+stack)
}

// A TokenError says why a token is refused, in words for whoever sent it. Nothing of the token is
// in it.
type TokenError struct{ reason string }

func (e *TokenError) Error() string { return "the access token is refused: " + e.reason }

// Verify verifies a token (RFC 7519): its signature, iss, aud, exp, which it must have, and nbf and
// iat where it has them. A *[TokenError] is the only error.
func (t *Tokens) Verify(ctx context.Context, token string) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, &TokenError{fmt.Sprintf("it is too long: more than %d bytes", maxToken)}
	}
	if err := CheckCritical(token); err != nil {
		return Claims{}, &TokenError{err.Error()}
	}
	// Not jwt.RegisteredClaims, which takes "EXP" for exp.
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

// tokenReason is why a token did not verify. The library's own words can quote the token.
func tokenReason(err error) string {
	for _, known := range []struct {
		err    error
		reason string
	}{
		{errNoKeys, "its issuer's keys could not be fetched: try again in a moment, and if it is refused again tell the operators"},
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
	return "it is no token that is taken here"
}

// readClaims takes what is used of a token's claims.
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
		return Claims{}, &TokenError{"one of its claims id, sub, name and email is no text"}
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
		return Claims{}, &TokenError{"its id or sub is no user's ID"}
	case c.User.Name != "" && !isText(c.User.Name):
		return Claims{}, &TokenError{"its claim name is no name"}
	case c.User.Email != "" && !isEmail(c.User.Email):
		return Claims{}, &TokenError{"its claim email is no e-mail address"}
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
		return Claims{}, &TokenError{"its claim apps is no list of names"}
	}
	return c, nil
}

// IsTrue reports whether a claim is true. Some issuers write it as a text.
func IsTrue(claim any) bool { return claim == true || claim == "true" }
