package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// A preset is a drain type for one provider: [HTTPS] or [Syslog] with the provider's address,
// headers, format and limits. It only has the few settings that differ between customers; other
// settings require the plain type. After [Load], a [Drain] of such a type has both: the preset as
// written, and the HTTPS or Syslog that it expands to.
//
// The limits come from the providers' documentation, cited beside each. A "MB" there is interpreted
// as 10⁶ bytes and a "KB" as 10³, the smaller meaning.

// checkURL checks the target of requests, and returns it; nil if it is invalid.
func (d *decoder) checkURL(path string, secret Secret) *url.URL {
	if !d.usable(path) {
		return nil
	}
	u, problem := parseSecretURL(secret, "https", "http")
	switch {
	case problem != "":
		d.refuse(codeURL, path, "%s", problem)
		return nil
	case u.Scheme == "http":
		d.refuse(codePlain, path, "is not encrypted; expected https://")
		return nil
	}
	return u
}

// parseSecretURL is parseURL for a URL that may contain credentials. The problem contains nothing
// of it.
func parseSecretURL(secret Secret, schemes ...string) (u *url.URL, problem string) {
	text := secret.Reveal()
	if !slices.ContainsFunc(schemes, func(s string) bool { return strings.HasPrefix(strings.ToLower(text), s+"://") }) {
		return nil, "does not begin with " + schemes[0] + "://; expected the whole URL"
	}
	whole, err := url.Parse(text)
	if err != nil {
		return nil, "is not a URL; expected " + schemes[0] + "://HOST:PORT, with special characters percent-encoded"
	}
	bare := *whole
	bare.User = nil
	if _, problem := parseURL(bare.String(), schemes...); problem != "" {
		return nil, problem
	}
	return whole, ""
}

// checkTags checks labels that are sent as a list separated by commas.
func (d *decoder) checkTags(path string, tags []string) {
	for i, tag := range tags {
		at := fmt.Sprintf("%s[%d]", path, i)
		if d.usable(at) && strings.ContainsFunc(tag, func(r rune) bool { return r == ',' || unicode.IsControl(r) || unicode.IsSpace(r) }) {
			d.refuse(codeForm, at, "%s has a comma, a space or a control character in it; expected one tag, such as env:production", quote(tag))
		}
	}
}
