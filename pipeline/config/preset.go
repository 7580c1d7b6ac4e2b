package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A preset is a drain type for one provider: [HTTPS] or [Syslog] with the provider's address,
// headers, format and limits filled in. Its own settings are the few that differ from customer to
// customer; who needs others uses the plain type. After [Load], a [Drain] of such a type has both:
// the preset as it was written, and the HTTPS or Syslog that it stands for.
//
// The limits are those that the providers' documentation gives, named beside each. A "MB" there is
// taken for 10⁶ bytes and a "KB" for 10³, the smaller of both readings.

// Shape says how an HTTPS drain's objects differ from records; https.Shape, whose fields these are,
// tells what each means.
type Shape struct {
	Message         string
	MaxMessageBytes int
	Milliseconds    string
	Level           string
	Host, App       string
	Constant        map[string]string
	Record          string
	MaxAge          time.Duration
}

// checkURL checks where requests are posted to, and returns it; nil where something is wrong.
func (d *decoder) checkURL(path string, secret Secret) *url.URL {
	if !d.usable(path) {
		return nil
	}
	u, problem := parseSecretURL(secret, "https", "http")
	switch {
	case problem != "":
		d.refuse(path, "%s", problem)
		return nil
	case u.Scheme == "http":
		d.refuse(path, "is http, which anybody on the way can read; expected https://")
		return nil
	}
	return u
}

// parseSecretURL is parseURL for a URL that may have credentials in it. The problem quotes nothing
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

// checkTags checks labels that are sent as one list with commas between.
func (d *decoder) checkTags(path string, tags []string) {
	for i, tag := range tags {
		at := fmt.Sprintf("%s[%d]", path, i)
		if d.usable(at) && strings.ContainsFunc(tag, func(r rune) bool { return r == ',' || unicode.IsControl(r) || unicode.IsSpace(r) }) {
			d.refuse(at, "%s has a comma, a space or a control character in it; expected one tag, such as env:production", quote(tag))
		}
	}
}
