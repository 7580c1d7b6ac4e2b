package console

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// A Proxy says who somebody is in a header.
type Proxy struct {
	// Header has an e-mail address, or another name. The proxy has to remove it from what comes from
	// outside.
	Header string
	// Trusted are the addresses of the proxy. From others the header is worth nothing.
	Trusted []netip.Prefix
	// Allowed are the names that are let in: as they are, or "*@example.com" for all of a domain.
	// Empty: all.
	Allowed []string
}

func (p *Proxy) who(r *http.Request) (Person, error) {
	peer, ok := peerOf(r)
	if !ok || !slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(peer) }) {
		return Person{}, &Refusal{http.StatusUnauthorized, "this console is reached through its proxy, and this request did not come from there (admin.console.trusted_proxies)"}
	}
	names := r.Header.Values(p.Header)
	if len(names) != 1 || strings.TrimSpace(names[0]) == "" || !oneLine(names[0]) {
		return Person{}, &Refusal{http.StatusUnauthorized, "the proxy did not say who you are (admin.console.proxy_header)"}
	}
	name := strings.TrimSpace(names[0])
	if len(p.Allowed) > 0 && !allowed(p.Allowed, name) {
		return Person{}, &Refusal{http.StatusForbidden, "you are not among those who may use this console (admin.console.allowed_emails)"}
	}
	return Person{name, ByProxy}, nil
}

// oneLine reports whether a name can be shown and logged, and looks like no other.
func oneLine(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || schema.IsHidden(r) })
}

// allowed says whether a list has a name: as it is, or by its domain.
func allowed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(one string) bool {
		if domain, all := strings.CutPrefix(one, "*"); all {
			at := strings.LastIndexByte(name, '@')
			return at > 0 && strings.EqualFold(name[at:], domain)
		}
		return strings.EqualFold(one, name)
	})
}
