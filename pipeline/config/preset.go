package config

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// A preset is a drain type for one provider: [HTTPS] or [Syslog] with the provider's address, headers,
// format and limits filled in. Its own settings are the few that differ from customer to customer; who
// needs others uses the plain type. After [Load], a [Drain] of such a type has both: the preset as it
// was written, and the HTTPS or Syslog that it stands for.
//
// The limits are those that the providers' documentation gives, named beside each. A "MB" there is taken
// for 10⁶ bytes and a "KB" for 10³, the smaller of both readings.

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

// checkURL checks where requests are posted to.
func (d *decoder) checkURL(path, text string) {
	if !d.usable(path) {
		return
	}
	u, problem := parseURL(text, "https", "http")
	switch {
	case problem != "":
		d.refuse(path, "%s", problem)
	case u.Scheme == "http":
		d.refuse(path, "is http, which anybody on the way can read; expected https://")
	}
}

// checkSecretURL is checkURL for a URL that is itself a secret: it quotes nothing of it.
func (d *decoder) checkSecretURL(path string, s Secret) {
	if !d.usable(path) {
		return
	}
	text := s.Reveal()
	switch {
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		d.checkURL(path, text)
	default:
		d.refuse(path, "does not begin with https://; expected the whole URL")
	}
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
