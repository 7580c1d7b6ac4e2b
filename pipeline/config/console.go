package config

import (
	"fmt"
	"net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// Console configures the console on the admin address, and its users.
type Console struct {
	// Disabled: there is no console.
	Disabled bool `yaml:"disabled"`
	// URL is the address of the console for browsers, without a path; "" for access from this
	// machine only.
	URL string `yaml:"url" want:"a URL such as https://console.example.com"`
	// TokenLogin permits logging in with the admin token if OIDC or ProxyHeader is set; without
	// them, the token is the only way to log in.
	TokenLogin bool `yaml:"token_login"`
	// OIDC permits logging in through an OpenID provider; nil for none.
	OIDC *OIDC `yaml:"oidc"`
	// ProxyHeader is the header with the user's identity, set by a proxy at one of TrustedProxies.
	// These proxies set the client's address in X-Forwarded-For.
	ProxyHeader    string   `yaml:"proxy_header" want:"the name of a header, such as X-Forwarded-Email"`
	TrustedProxies []string `yaml:"trusted_proxies" want:"a list of addresses, such as 127.0.0.1 or 10.0.0.0/8"`
	// AllowedEmails are the users of the proxy that may log in: addresses, or *@example.com; an
	// empty list permits all.
	AllowedEmails []string `yaml:"allowed_emails"`
	// Roles are the roles of users of OIDC or ProxyHeader, of which the first that matches counts;
	// without any, all users are administrators.
	Roles []ConsoleRole `yaml:"roles" want:"a list of roles, each with email or group"`
	// ShowPHI permits the console to show the output of sessions of stacks with phi: true.
	ShowPHI bool `yaml:"show_phi"`

	// Base is the parsed URL, or nil; Proxies are TrustedProxies.
	Base    *url.URL       `yaml:"-"`
	Proxies []netip.Prefix `yaml:"-"`
}

// ConsoleRole assigns a role to users of the console: those with an e-mail address, or in a group
// of the OpenID provider.
type ConsoleRole struct {
	Email string `yaml:"email"`
	Group string `yaml:"group"`
	Grant `yaml:",inline"`
}

// OIDC is an OpenID provider (OpenID Connect Core 1.0) that identifies operators.
type OIDC struct {
	Issuer       string `yaml:"issuer" rule:"required" want:"the provider's URL, such as https://accounts.example.com"`
	ClientID     string `yaml:"client_id" rule:"required" want:"the ID of the client at the provider"`
	ClientSecret Secret `yaml:"client_secret"`
	// Scopes are requested in addition to openid.
	Scopes []string `yaml:"scopes"`
	// AllowedEmails are addresses, or *@example.com; AllowedGroups are values of the claim
	// GroupsClaim. A user in either list may log in.
	AllowedEmails []string `yaml:"allowed_emails"`
	AllowedGroups []string `yaml:"allowed_groups"`
	GroupsClaim   string   `yaml:"groups_claim"`
	TLS           TLS      `yaml:",inline"`
}

func (o *OIDC) setDefaults() {
	o.Scopes = []string{"email", "profile"}
	o.GroupsClaim = "groups"
}

func (c *Config) finishConsole(d *decoder) {
	o := &c.Admin.Console
	const at = "admin.console"
	if d.usable(at + ".url") {
		u := d.checkEncrypted(at+".url", o.URL, ", and an eavesdropper could log in as another user")
		switch {
		case u == nil:
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			d.refuse(codeURL, at+".url", "has a path; expected the host alone, such as https://console.example.com: the console is at /console/ there")
		default:
			u.Path = ""
			o.Base = u
		}
	}
	if d.given(at+".oidc") && d.given(at+".proxy_header") {
		d.refuse(codeExclusive, at+".proxy_header", "is set together with oidc; expected only one of them")
	}
	if d.given(at+".token_login") && !d.given(at+".oidc") && !d.given(at+".proxy_header") {
		d.refuse(codeElsewhere, at+".token_login", "is for a console with oidc or proxy_header: without them, the admin token is the way in; expected none, or disabled: true for no console")
	}
	if d.given(at+".proxy_header") && !d.given(at+".trusted_proxies") {
		d.refuse(codePair, at+".proxy_header", "is set without trusted_proxies; expected the addresses of the proxy, which are trusted")
	}
	if d.usable(at+".proxy_header") && !headerForm().MatchString(o.ProxyHeader) {
		d.refuse(codeForm, at+".proxy_header", "%s is not the name of a header; expected one such as X-Forwarded-Email", quote(o.ProxyHeader))
	}
	o.ProxyHeader = textproto.CanonicalMIMEHeaderKey(o.ProxyHeader)
	d.notEmpty(at+".trusted_proxies", len(o.TrustedProxies))
	for i, text := range o.TrustedProxies {
		if path := fmt.Sprintf("%s.trusted_proxies[%d]", at, i); d.usable(path) {
			prefix, err := parsePrefix(text)
			if err != nil {
				d.refuse(codeAddress, path, "%s is not an address; expected one such as 127.0.0.1, or a network such as 10.0.0.0/8", quote(text))
				continue
			}
			o.Proxies = append(o.Proxies, prefix)
		}
	}
	d.checkEmails(at+".allowed_emails", o.AllowedEmails)
	if d.given(at+".allowed_emails") && !d.given(at+".proxy_header") {
		d.refuse(codeElsewhere, at+".allowed_emails", "is for a console with proxy_header; expected it inside of oidc, or none")
	}
	o.finishRoles(d, at)
	if o.OIDC != nil {
		o.OIDC.finish(d, at, o.Base)
	}
}

func (o *OIDC) finish(d *decoder, console string, base *url.URL) {
	at := console + ".oidc"
	if base == nil && !d.given(console+".url") {
		d.mistake(codeMissing, d.place(at), console+".url", "is missing; expected the URL of the console, to which the OpenID provider redirects users: its /console/oidc/callback")
	}
	if d.usable(at + ".issuer") {
		d.checkEncrypted(at+".issuer", o.Issuer, "")
	}
	d.checkEmails(at+".allowed_emails", o.AllowedEmails)
	d.notEmpty(at+".allowed_groups", len(o.AllowedGroups))
	if !d.given(at+".allowed_emails") && !d.given(at+".allowed_groups") {
		d.refuse(codeEveryone, at, "permits either nobody or every user of the provider; expected allowed_emails (*@example.com for all of a domain) or allowed_groups")
	}
	d.checkTLS(at, &o.TLS)
}

// checkEmails checks a list of permitted addresses.
func (d *decoder) checkEmails(path string, list []string) {
	d.notEmpty(path, len(list))
	for i, text := range list {
		if at := fmt.Sprintf("%s[%d]", path, i); d.usable(at) {
			d.checkEmail(at, text)
		}
	}
}

func (d *decoder) checkEmail(at, text string) {
	address := text
	if domain, all := strings.CutPrefix(text, "*@"); all {
		address = "any@" + domain
	}
	if a, err := mail.ParseAddress(address); err != nil || a.Address != address || strings.Contains(address, "*") {
		d.refuse(codeForm, at, "%s is not an e-mail address; expected one such as ada@example.com, or *@example.com for all of a domain", quote(text))
	}
}

func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}
