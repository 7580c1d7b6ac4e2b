package config

import (
	"fmt"
	"net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// Console is the console on the admin address, and who may use it.
type Console struct {
	// Disabled: there is no console.
	Disabled bool `yaml:"disabled"`
	// URL is where browsers reach it; "" for this machine alone. It has no path.
	URL string `yaml:"url" want:"a URL such as https://console.example.com"`
	// TokenLogin lets in who has the admin token where OIDC or ProxyHeader is set; without them, the
	// token is the only way.
	TokenLogin bool `yaml:"token_login"`
	// OIDC lets in whom an OpenID provider knows, or is nil.
	OIDC *OIDC `yaml:"oidc"`
	// ProxyHeader is where a proxy at one of TrustedProxies says who somebody is. These say in
	// X-Forwarded-For whose requests they pass on.
	ProxyHeader    string   `yaml:"proxy_header" want:"the name of a header, such as X-Forwarded-Email"`
	TrustedProxies []string `yaml:"trusted_proxies" want:"a list of addresses, such as 127.0.0.1 or 10.0.0.0/8"`
	// AllowedEmails are whom of those that the proxy names may come in: addresses, or *@example.com;
	// none for all.
	AllowedEmails []string `yaml:"allowed_emails"`
	// ShowPHI lets the console show what sessions of stacks with phi: true showed.
	ShowPHI bool `yaml:"show_phi"`

	// Base is URL, parsed, or nil; Proxies are TrustedProxies.
	Base    *url.URL       `yaml:"-"`
	Proxies []netip.Prefix `yaml:"-"`
}

// OIDC is an OpenID provider (OpenID Connect Core 1.0) that says who operators are.
type OIDC struct {
	Issuer       string `yaml:"issuer" rule:"required" want:"the provider's URL, such as https://accounts.example.com"`
	ClientID     string `yaml:"client_id" rule:"required"`
	ClientSecret Secret `yaml:"client_secret"`
	// Scopes are asked for beside openid.
	Scopes []string `yaml:"scopes"`
	// AllowedEmails are addresses, or *@example.com; AllowedGroups are values of the claim
	// GroupsClaim. Who is among either comes in.
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
		u := d.checkEncrypted(at+".url", o.URL, ", and who listens could log in as somebody else")
		switch {
		case u == nil:
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			d.refuse(at+".url", "has a path; expected the host alone, such as https://console.example.com: the console is at /console/ there")
		default:
			u.Path = ""
			o.Base = u
		}
	}
	if d.given(at+".oidc") && d.given(at+".proxy_header") {
		d.refuse(at+".proxy_header", "stands beside oidc; expected one of both")
	}
	if d.given(at+".token_login") && !d.given(at+".oidc") && !d.given(at+".proxy_header") {
		d.refuse(at+".token_login", "is for a console with oidc or proxy_header: without them, the admin token is the way in; expected none, or disabled: true for no console")
	}
	if d.given(at+".proxy_header") && !d.given(at+".trusted_proxies") {
		d.refuse(at+".proxy_header", "is there without trusted_proxies; expected the addresses of the proxy, from which it is believed")
	}
	if d.usable(at+".proxy_header") && !headerForm().MatchString(o.ProxyHeader) {
		d.refuse(at+".proxy_header", "%s is no name of a header; expected one such as X-Forwarded-Email", quote(o.ProxyHeader))
	}
	o.ProxyHeader = textproto.CanonicalMIMEHeaderKey(o.ProxyHeader)
	d.notEmpty(at+".trusted_proxies", len(o.TrustedProxies))
	for i, text := range o.TrustedProxies {
		if path := fmt.Sprintf("%s.trusted_proxies[%d]", at, i); d.usable(path) {
			prefix, err := parsePrefix(text)
			if err != nil {
				d.refuse(path, "%s is no address; expected one such as 127.0.0.1, or a network such as 10.0.0.0/8", quote(text))
				continue
			}
			o.Proxies = append(o.Proxies, prefix)
		}
	}
	d.checkEmails(at+".allowed_emails", o.AllowedEmails)
	if d.given(at+".allowed_emails") && !d.given(at+".proxy_header") {
		d.refuse(at+".allowed_emails", "is for a console with proxy_header; expected it inside of oidc, or none")
	}
	if o.OIDC != nil {
		o.OIDC.finish(d, at, o.Base)
	}
}

func (o *OIDC) finish(d *decoder, console string, base *url.URL) {
	at := console + ".oidc"
	if base == nil && !d.given(console+".url") {
		d.mistake(d.place(at), console+".url", "is missing; expected the URL of the console, to which the OpenID provider sends people back: its /console/oidc/callback")
	}
	if d.usable(at + ".issuer") {
		d.checkEncrypted(at+".issuer", o.Issuer, "")
	}
	d.checkEmails(at+".allowed_emails", o.AllowedEmails)
	d.notEmpty(at+".allowed_groups", len(o.AllowedGroups))
	if !d.given(at+".allowed_emails") && !d.given(at+".allowed_groups") {
		d.refuse(at, "lets in nobody, or everybody whom the provider knows; expected allowed_emails (*@example.com for all of a domain) or allowed_groups")
	}
	d.checkTLS(at, &o.TLS)
}

// checkEmails checks a list of whom to let in.
func (d *decoder) checkEmails(path string, list []string) {
	d.notEmpty(path, len(list))
	for i, text := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !d.usable(at) {
			continue
		}
		address := text
		if domain, all := strings.CutPrefix(text, "*@"); all {
			address = "any@" + domain
		}
		if a, err := mail.ParseAddress(address); err != nil || a.Address != address || strings.Contains(address, "*") {
			d.refuse(at, "%s is no e-mail address; expected one such as ada@example.com, or *@example.com for all of a domain", quote(text))
		}
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
