// Package role defines what callers of the admin server may do.
package role

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
)

// A Role is a set of permissions.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // lists, and the state of drains
	Auditor  Role = "auditor"  // also the output of sessions; changes nothing
	Operator Role = "operator" // lists, and changes: ending sessions, drains, dead letters
	Admin    Role = "admin"    // everything
)

// A Permission is what an operation needs.
type Permission int

// The permissions.
const (
	View       Permission = iota + 1 // read lists and states
	Read                             // read the output of sessions
	ReadLetter                       // read a record that a drain has refused
	Operate                          // change drains, dead letters and running sessions
	Administer                       // give access to others
)

// Roles returns all roles.
func Roles() []Role { return []Role{Viewer, Auditor, Operator, Admin} }

// May reports whether a role has a permission. An unknown role has none.
func (r Role) May(p Permission) bool {
	switch r {
	case Viewer:
		return p == View
	case Auditor:
		return p == View || p == Read || p == ReadLetter
	case Operator:
		return p == View || p == Operate || p == ReadLetter
	case Admin:
		return View <= p && p <= Administer
	}
	return false
}

// With returns the roles that have a permission.
func With(p Permission) []Role {
	return slices.DeleteFunc(Roles(), func(r Role) bool { return !r.May(p) })
}

// Sentence names the roles that have a permission, such as "auditor or admin".
func Sentence(p Permission) string {
	var names []string
	for _, r := range With(p) {
		names = append(names, string(r))
	}
	if len(names) == 0 {
		return "no role"
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// A Grant is what one caller may do.
type Grant struct {
	Role Role
	// PHI permits the output of sessions that may hold protected health information, if the role
	// permits output.
	PHI bool
}

// All returns the grant of the admin token.
func All() Grant { return Grant{Admin, true} }

// A Token is a secret that callers send.
type Token struct {
	Name   string // for logs; "" for the admin token
	Secret string // never printed
	Grant
}

// Tokens are the tokens of a server.
type Tokens []Token

// WithAdmin returns the tokens and the admin token, which comes first. An empty secret is that of
// no caller.
func (t Tokens) WithAdmin(secret string) Tokens {
	return append(Tokens{{Secret: secret, Grant: All()}}, t...)
}

// Find returns the token with a secret; ok is false if there is none. It takes the same time for
// every secret.
func (t Tokens) Find(secret string) (found Token, ok bool) {
	given := sha256.Sum256([]byte(secret))
	for _, one := range t {
		if known := sha256.Sum256([]byte(one.Secret)); one.Secret != "" && subtle.ConstantTimeCompare(given[:], known[:]) == 1 && !ok {
			found, ok = one, true
		}
	}
	return found, ok
}

// A Rule assigns a grant to users of the console.
type Rule struct {
	// Email is an address or, as "*@example.com", all of a domain; Group is a group of the OpenID
	// provider. One of them is set.
	Email, Group string
	Grant
}

// Rules are the rules of a console; without any, each user has [All].
type Rules []Rule

// Grant returns the grant of the first rule for a user. A user of no rule is a viewer.
func (r Rules) Grant(email string, groups []string) Grant {
	if len(r) == 0 {
		return All()
	}
	for _, rule := range r {
		if rule.Group != "" && slices.Contains(groups, rule.Group) || rule.Email != "" && MatchesEmail(rule.Email, email) {
			return rule.Grant
		}
	}
	return Grant{Role: Viewer}
}

// MatchesEmail reports whether an e-mail address is the one of a pattern, or in its domain
// ("*@example.com").
func MatchesEmail(pattern, email string) bool {
	if domain, all := strings.CutPrefix(pattern, "*"); all {
		at := strings.LastIndexByte(email, '@')
		return at > 0 && strings.EqualFold(email[at:], domain)
	}
	return strings.EqualFold(pattern, email)
}
