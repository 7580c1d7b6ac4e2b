package console

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/schema"
)

// Proxy is a proxy that authenticates users and passes their names in a header.
type Proxy struct {
	// Header contains an e-mail address or another name. The proxy must remove it from external
	// requests.
	Header string
	// Trusted are the networks of the proxy. The header is ignored in requests from other
	// addresses.
	Trusted []netip.Prefix
	// Allowed are the allowed names: exact, or "*@example.com" for a whole domain. If it is empty,
	// all names are allowed.
	Allowed []string
}

func (p *Proxy) person(r *http.Request) (Person, error) {
	peer, ok := peerOf(r)
	if !ok || !slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(peer) }) {
		return Person{}, &Refusal{http.StatusUnauthorized, "this console only accepts requests from its proxy (admin.console.trusted_proxies)"}
	}
	names := r.Header.Values(p.Header)
	if len(names) != 1 || strings.TrimSpace(names[0]) == "" || !isPrintableName(names[0]) {
		return Person{}, &Refusal{http.StatusUnauthorized, "the proxy did not send your name (admin.console.proxy_header)"}
	}
	name := strings.TrimSpace(names[0])
	if len(p.Allowed) > 0 && !allowed(p.Allowed, name) {
		return Person{}, &Refusal{http.StatusForbidden, "you are not allowed to use this console (admin.console.allowed_emails)"}
	}
	return Person{Name: name, Way: ByProxy}, nil
}

// isPrintableName reports whether a name is printable and has no hidden characters, so that it
// cannot imitate another name.
func isPrintableName(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || schema.IsHidden(r) })
}

// allowed reports whether a list contains a name, exactly or by its domain.
func allowed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return role.MatchesEmail(one, name) })
}
