package config

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"unicode"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
)

func (c *Config) finishDrains(d *decoder) {
	names := newNames(d, "drains", "name")
	stacks, apps := c.stackNames(), c.appNames()
	for i := range c.Drains {
		dr := &c.Drains[i]
		path := fmt.Sprintf("drains[%d]", i)
		if !d.usable(path) {
			continue
		}
		names.add(i, dr.Name)
		for j, name := range dr.Match.Stacks {
			d.reference(fmt.Sprintf("%s.match.stacks[%d]", path, j), name, "stack", stacks)
		}
		for j, name := range dr.Match.Apps {
			at := fmt.Sprintf("%s.match.apps[%d]", path, j)
			d.reference(at, name, "app", apps)
			c.checkReachable(d, dr, name, at)
		}
		// An empty list would match all, but its author meant none.
		d.notEmpty(path+".match.stacks", len(dr.Match.Stacks))
		d.notEmpty(path+".match.apps", len(dr.Match.Apps))
		if _, s := dr.settings(); s != nil { // else the type is a mistake
			s.finish(d, path)
			if p, ok := s.(preset); ok {
				p.expand(dr)
			}
		}
		c.checkPHI(d, dr, path)
	}
}

// checkReachable reports an app that a drain names and whose stack it excludes.
func (c *Config) checkReachable(d *decoder, dr *Drain, name, path string) {
	app, ok := c.App(name)
	if !ok || !d.usable(path) || len(dr.Match.Stacks) == 0 || slices.Contains(dr.Match.Stacks, app.Stack) {
		return
	}
	if _, ok := c.Stack(app.Stack); ok {
		d.refuse(codeElsewhere, path, "the app %s is on the stack %s, which match.stacks leaves out; expected that stack among them, or no match.stacks", quote(name), quote(app.Stack))
	}
}

// checkPHI refuses a drain that would receive the session logs of a stack with PHI without the
// agreement. It compares the lists of names, so that a stack is refused even before it has an app.
func (c *Config) checkPHI(d *decoder, dr *Drain, path string) {
	// The intention of a list with an error is unknown.
	if dr.CoversPHI() || !dr.DrainEphemeralSessions || d.anyBad(path+".agreements") || d.anyBad(path+".match") {
		return
	}
	for i := range c.Stacks {
		s := &c.Stacks[i]
		if !s.PHI || len(dr.Match.Stacks) > 0 && !slices.Contains(dr.Match.Stacks, s.Name) {
			continue
		}
		onStack := func(name string) bool {
			a, ok := c.App(name)
			return ok && a.Stack == s.Name
		}
		if len(dr.Match.Apps) > 0 && !slices.ContainsFunc(dr.Match.Apps, onStack) {
			continue
		}
		d.refuse(codeAgreement, path, "matches the stack %s, which has phi: true (line %d), without the agreement; expected agreements: [%s], or a match that leaves the stack out",
			quote(s.Name), d.place(fmt.Sprintf("stacks[%d].phi", i)).line, AgreementBAA)
		return
	}
}

// anyBad reports whether the value at path, or one inside of it, has an error.
func (d *decoder) anyBad(path string) bool {
	for at, p := range d.places {
		if p.bad && strings.HasPrefix(at, path) {
			return true
		}
	}
	return false
}

func (h *HTTPS) finish(d *decoder, path string) {
	u := d.checkURL(path+".url", h.URL)
	d.checkHeaders(path+".headers", h.Headers)
	d.together(path+".username", path+".password")
	d.checkUsername(path+".username", h.Username)
	d.checkSecretLine(path+".password", h.Password)
	if at := path + ".username"; d.usable(at) {
		for name := range h.Headers {
			if strings.EqualFold(name, "Authorization") {
				d.refuse(codeExclusive, at, "is set together with headers.%s; expected only one way to log in", name)
			}
		}
		if u != nil && u.User != nil {
			d.refuse(codeExclusive, at, "is set although url has a user; expected only one of them")
		}
	}
	d.checkProxy(path+".proxy", h.Proxy)
	d.checkTLS(path, &h.TLS)
}

// checkHeaders refuses duplicate headers and invalid header values.
func (d *decoder) checkHeaders(path string, headers map[string]Secret) {
	lines := make(map[string]string) // by the canonical form of the name
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if other, twice := lines[canonical]; twice {
			d.refuse(codeDuplicate, path+"."+name, "is the same header as %s; expected it once", other)
			continue
		}
		lines[canonical] = name
		d.checkSecretLine(path+"."+name, headers[name])
	}
}

func (e *Elasticsearch) finish(d *decoder, path string) {
	d.notEmpty(path+".urls", len(e.URLs))
	credentials := e.APIKey.IsSet() || e.Username != "" || e.Password.IsSet()
	secure := len(e.URLs) == 0
	for i, secret := range e.URLs {
		at := fmt.Sprintf("%s.urls[%d]", path, i)
		if !d.usable(at) {
			secure = true
			continue
		}
		u, problem := parseSecretURL(secret, "https", "http")
		switch {
		case problem == "" && u.User != nil:
			d.refuse(codeURL, at, "has credentials in it; expected them in username and password")
			secure = true
		case problem != "":
			d.refuse(codeURL, at, "%s", problem)
			secure = true
		case u.RawQuery != "":
			d.refuse(codeURL, at, "has a \"?\" part; expected none")
		case u.Scheme == "https":
			secure = true
		case credentials && !isLoopback(u):
			d.refuse(codePlain, at, "is http to another machine, and credentials would be sent unencrypted; expected https://")
		}
	}
	if e.APIKey.IsSet() && (e.Username != "" || e.Password.IsSet()) {
		d.refuse(codeExclusive, path+".api_key", "is set together with username and password; expected only one way to log in")
	} else {
		d.together(path+".username", path+".password")
	}
	if e.Product == "opensearch" && d.given(path+".api_key") {
		d.refuse(codeElsewhere, path+".api_key", "is for Elasticsearch, and product is opensearch, which has no API keys; expected username and password")
	}
	d.checkSecretLine(path+".api_key", e.APIKey)
	d.checkUsername(path+".username", e.Username)
	d.checkSecretLine(path+".password", e.Password)
	d.checkPrintable(path+".pipeline", e.Pipeline)
	if at := path + ".data_stream"; d.usable(at) {
		for _, err := range sinks.SettingErrors(elasticsearch.CheckDataStream(e.DataStream)) {
			if wrong, ok := err.(*sinks.SettingError); ok {
				d.refuse(codeForm, at, "%s", wrong.Problem)
			}
		}
	}
	d.checkProxy(path+".proxy", e.Proxy)
	d.checkTLS(path, &e.TLS)
	d.checkTLSUsed(path, secure)
}

func (s *Syslog) finish(d *decoder, path string) {
	if d.usable(path + ".address") {
		d.checkAddress(path+".address", s.Address, false)
	}
	notPrintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if d.usable(path+".token") && strings.ContainsFunc(s.Token.Reveal(), notPrintable) {
		d.refuse(codeForm, path+".token", "has a space or a character in it that is not ASCII; expected one word")
	}
	d.checkTokenLength(path, s.Token, s.MaxMessageBytes)
	for _, name := range []string{"framing", "connection_grace"} {
		if s.Protocol == "relp" && d.usable(join(path, name)) {
			d.refuse(codeElsewhere, join(path, name), "is for protocol: tcp; expected it left out with relp")
		}
	}
	d.checkTLS(path, &s.TLS)
}

// checkTokenLength refuses a token that leaves too little space for the record in each syslog
// message.
func (d *decoder) checkTokenLength(path string, token Secret, maxMessage int64) {
	at, limit := path+".token", path+".max_message_bytes"
	if d.given(limit) && !d.usable(limit) {
		return
	}
	if most := int(maxMessage / 8); d.usable(at) && len(token.Reveal()) > most {
		d.refuse(codeRange, at, "has %d bytes; expected at most %d, an eighth of max_message_bytes", len(token.Reveal()), most)
	}
}

// checkProxy checks a drain's own proxy.
func (d *decoder) checkProxy(path string, p *Proxy) {
	if p == nil || p.None {
		return
	}
	at, ca := path+".url", path+".ca_file"
	if d.usable(at) {
		u, problem := parseSecretURL(p.URL, "http", "https", "socks5", "socks5h")
		switch {
		case problem != "":
			d.refuse(codeURL, at, "%s", problem)
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			d.refuse(codeAddress, at, "has something after its host and port; expected http://HOST:PORT")
		case u.Scheme != "https" && d.usable(ca):
			d.refuse(codeElsewhere, ca, "is for a proxy with https://; expected that, or this left out")
		}
	}
	d.checkFile(ca, p.CAFile)
}

// checkUsername refuses names that basic authentication cannot send (RFC 7617 §2).
func (d *decoder) checkUsername(path, name string) {
	d.checkPrintable(path, name)
	if d.usable(path) && strings.Contains(name, ":") {
		d.refuse(codeForm, path, "has a colon in it, which basic authentication cannot send; expected a name without one")
	}
}

// checkSecretLine refuses a secret that cannot be part of one line of a protocol.
func (d *decoder) checkSecretLine(path string, s Secret) {
	if d.usable(path) && strings.ContainsFunc(s.Reveal(), func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		d.refuse(codeForm, path, "has a control character in it, such as a line break; expected one line of text")
	}
}

// checkTLSUsed reports TLS settings that no connection would use: their author expects TLS.
func (d *decoder) checkTLSUsed(path string, secure bool) {
	if secure {
		return
	}
	for _, name := range []string{"ca_file", "cert_file", "key_file", "server_name", "fingerprint_sha256"} {
		if at := join(path, name); d.usable(at) {
			d.refuse(codeElsewhere, at, "is for TLS, and no URL begins with https://; expected https:// there, or this left out")
		}
	}
}

// ownHeaders are set by the drain itself.
var ownHeaders = []string{"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Expect", "Host", "Idempotency-Key",
	"Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

var headerForm = lateForm("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$") // a token: RFC 9110 §5.6.2

// checkHeaderName returns the problem with the name of an HTTP header; "" if there is none. It only
// quotes valid names: if a colon was forgotten, the key contains the value.
func checkHeaderName(name string) string {
	if !headerForm().MatchString(name) {
		return "has a key that is not the name of a header; expected letters, digits and \"-\", then a colon and the value"
	}
	if slices.Contains(ownHeaders, textproto.CanonicalMIMEHeaderKey(name)) {
		return quote(name) + " is a header that ttydrain sets itself; expected others, such as Authorization"
	}
	return ""
}

// userDocumentEnv is the environment variable that identifies a session's user.
const userDocumentEnv = "APTIBLE_USER_DOCUMENT"

func checkEnvName(name string) string {
	if !envName.MatchString(name) {
		return "has a key that is not the name of an environment variable; expected letters, digits and \"_\", then a colon and the value"
	}
	if name == userDocumentEnv {
		return userDocumentEnv + " is set by ttydrain itself; expected other names"
	}
	return ""
}
