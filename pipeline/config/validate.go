package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// finish checks rules that involve more than one field, and derives values from other fields. It
// ignores values with known errors, so that one error causes one message.
func (c *Config) finish(d *decoder) {
	c.finishStore(d)
	c.finishServers(d)
	c.finishConsole(d)
	c.finishUserDocument(d)
	c.finishStacks(d)
	c.finishSandbox(d)
	c.finishDocker(d)
	c.finishTracing(d)
	c.finishApps(d)
	c.finishUserCA(d)
	c.finishUsers(d)
	c.finishAccessToken(d)
	c.finishAPIURL(d)
	c.finishDrains(d)
	c.finishPrivate(d)
}

func (c *Config) finishStore(d *decoder) {
	n := c.NATS
	if n == nil {
		if d.given("store") && !d.usable("store") {
			return
		}
		err := checkFolder(c.Store)
		if errors.Is(err, errMissing) {
			err = checkCreatable(c.Store)
		}
		if err != nil {
			d.refuse(codeFile, "store", "%s %v; expected a folder for the embedded server's files, or a path where one can be created", quote(c.Store), err)
		}
		return
	}
	if d.given("store") {
		d.refuse(codeExclusive, "store", "is set together with nats; expected only one of them: store for the embedded server, nats for a cluster")
	}
	if d.given("sync_interval") {
		d.refuse(codeElsewhere, "sync_interval", "is for the embedded server, and nats is set; expected it in the cluster's own configuration")
	}
	c.Store = ""
	if d.usable("nats.url") {
		schemes := make(map[bool]bool) // whether there are URLs of WebSockets, and others
		for part := range strings.SplitSeq(n.URL, ",") {
			u, problem := parseURL(strings.TrimSpace(part), "nats", "tls", "ws", "wss")
			if problem != "" {
				d.refuse(codeURL, "nats.url", "%s", problem)
				break
			}
			schemes[strings.HasPrefix(u.Scheme, "ws")] = true
		}
		if len(schemes) > 1 {
			d.refuse(codeURL, "nats.url", "has URLs of WebSockets (ws, wss) and others; expected all of one kind")
		}
	}
	ways := 0
	for _, set := range []bool{n.CredentialsFile != "", n.NKeySeedFile != "", n.Token.IsSet(), n.Username != "" || n.Password.IsSet()} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		d.refuse(codeExclusive, "nats", "has credentials of more than one kind; expected one of credentials_file, nkey_seed_file, token, or username with password")
	}
	d.together("nats.username", "nats.password")
	if at := "nats.credentials_file"; d.usable(at) {
		data := d.checkFile(at, n.CredentialsFile)
		if d.usable(at) && !(userJWT.Match(data) && userSeed.Match(data)) {
			d.refuse(codePrivateKey, at, "the file %s holds no NATS credentials; expected a user's JWT and its NKey seed, as \"nsc generate creds\" writes them", quote(n.CredentialsFile))
		}
	}
	if at := "nats.nkey_seed_file"; d.usable(at) {
		data := d.checkFile(at, n.NKeySeedFile)
		if d.usable(at) && !userSeed.Match(data) {
			d.refuse(codePrivateKey, at, "the file %s holds no NKey seed of a user; expected a line of 58 characters that begins with SU, as \"nk -gen user\" writes it", quote(n.NKeySeedFile))
		}
	}
	if at := "nats.inbox_prefix"; d.usable(at) && !inboxForm.MatchString(n.InboxPrefix) {
		d.refuse(codeForm, at, "%s is not a prefix of a subject; expected letters, digits, \"_\" and \"-\", in parts with dots between, such as _INBOX_ttydrain_gateway", quote(n.InboxPrefix))
	}
	d.checkTLS("nats", &n.TLS)
}

var (
	// userSeed matches the seed of a user's NKey: see github.com/nats-io/nkeys.
	userSeed = regexp.MustCompile(`(?m)^\s*SU[A-Z2-7]{56}\s*$`)
	// userJWT matches the beginning of a JWT in a file of NATS credentials.
	userJWT = regexp.MustCompile(`(?m)^-+BEGIN NATS USER JWT-+\s*$`)
	// inboxForm matches a subject to which others can be appended.
	inboxForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

func (c *Config) finishServers(d *decoder) {
	g := &c.Gateway
	gateway := d.checkAddress("gateway.listen", g.Listen, true)
	admin := d.checkAddress("admin.listen", c.Admin.Listen, true)
	if gateway && admin && g.Listen == c.Admin.Listen && !strings.HasSuffix(g.Listen, ":0") {
		d.refuse(codeDuplicate, "admin.listen", "is the gateway's address as well; expected another port")
	}
	c.finishAdmin(d)
	g.finishHostKeys(d)
	g.finishLimits(d)
	for i, pattern := range g.AcceptEnv {
		path := fmt.Sprintf("gateway.accept_env[%d]", i)
		if d.usable(path) && !envPattern.MatchString(pattern) {
			d.refuse(codeForm, path, "%s is not the name of an environment variable; expected letters, digits, \"_\" and the wildcards \"*\" and \"?\"", quote(pattern))
		}
	}
}

func (c *Config) finishUserDocument(d *decoder) {
	u := &c.UserDocument
	if d.usable("user_document.issuer") {
		// RFC 7519 §2: a StringOrURI with a colon is a URI.
		if parsed, err := url.Parse(u.Issuer); strings.Contains(u.Issuer, ":") && (err != nil || parsed.Scheme == "") {
			d.refuse(codeForm, "user_document.issuer", "has a colon and is not a URI; expected a URI such as https://auth.example.com, or a name without a colon")
		}
	}
	d.checkSigningKey("user_document.signing_key", u)
	if u.GapKey != "" {
		if data, ok := d.existingKey("user_document.gap_key", u.GapKey); ok && parsePrivateKey(data) == nil {
			d.refuse(codePrivateKey, "user_document.gap_key", "the file %s holds no private key; expected a file made by ttydrain keys make", quote(u.GapKey))
		}
	}
}

func (c *Config) finishStacks(d *decoder) {
	d.notEmpty("stacks", len(c.Stacks))
	// The enricher finds the progress of a session in its last segment, which must exist until the
	// session ends.
	for i, s := range c.Stacks {
		at := fmt.Sprintf("stacks[%d].session_duration", i)
		if s.SessionDuration > c.Streams.Retention && d.usable("streams.retention") && (d.usable(at) || !d.given(at)) {
			d.refuse(codeRange, "streams.retention", "%s is less than a session of the stack %s may last (%s); expected at least that, or a lower session_duration",
				shortDuration(c.Streams.Retention), quote(s.Name), shortDuration(s.SessionDuration))
			break
		}
	}
	names := newNames(d, "stacks", "name")
	for i := range c.Stacks {
		s := &c.Stacks[i]
		names.add(i, s.Name)
		path := fmt.Sprintf("stacks[%d]", i)
		if s.Plan == planStarter && s.Sessions > 1 && d.usable(path+".sessions") && (!d.given(path+".plan") || d.usable(path+".plan")) {
			d.refuse(codeRange, path+".sessions", "is %d, and the plan starter has one session at a time; expected 1, or plan: growth, scale or enterprise", s.Sessions)
		}
		if s.Sessions == 0 {
			s.Sessions = planSessions[s.Plan]
		}
	}
}

// shortDuration returns a duration as people write it: 168h, not 168h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// programPath matches paths without characters that are special to a shell.
var programPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]+$`)

func (c *Config) finishApps(d *decoder) {
	d.notEmpty("apps", len(c.Apps))
	names, ids := newNames(d, "apps", "name"), newNames(d, "apps", "id")
	stacks := c.stackNames()
	for i := range c.Apps {
		a := &c.Apps[i]
		path := fmt.Sprintf("apps[%d]", i)
		names.add(i, a.Name)
		d.checkPrintable(path+".id", a.ID)
		d.checkPrintable(path+".service", a.Service)
		if a.ID == "" {
			a.ID = a.Name
		}
		ids.add(i, a.ID)
		if a.Service == "" {
			a.Service = a.Name
		}
		d.reference(path+".stack", a.Stack, "stack", stacks)
		d.notEmpty(path+".command", len(a.Command))
		if d.usable(path + ".root") {
			if err := checkFolder(a.Root); err != nil {
				d.refuse(codeFile, path+".root", "%s %v; expected the folder that the session sees as /", quote(a.Root), err)
			}
		}
		a.finishRuntime(d, path)
		if d.usable(path+".sftp_server") && !programPath.MatchString(a.SFTPServer) {
			d.refuse(codeForm, path+".sftp_server", "%s is not the absolute path of a program in letters, digits and the characters ._+-; expected one such as /usr/lib/openssh/sftp-server", quote(a.SFTPServer))
		}
		for name, value := range a.Env {
			if strings.ContainsRune(value.Reveal(), 0) {
				d.refuse(codeForm, join(path+".env", name), "has a NUL character in it; expected text")
			}
		}
	}
}

func (c *Config) finishUsers(d *decoder) {
	switch {
	case !d.given("users") && !d.given("user_ca"):
		if d.mistaken("users") {
			break
		}
		d.mistake(codeMissing, d.place(""), "users", "is missing; expected a list of users, or user_ca for people with certificates")
	case !d.given("user_ca"):
		d.notEmpty("users", len(c.Users))
	}
	ids := newNames(d, "users", "id")
	ids.form, ids.want = userForm(), "up to 255 ASCII characters without spaces"
	apps := c.appNames()
	c.byKey = make(map[string]int)
	for i := range c.Users {
		u := &c.Users[i]
		path := fmt.Sprintf("users[%d]", i)
		ids.add(i, u.ID)
		d.checkPrintable(path+".name", u.Name)
		if d.usable(path + ".email") {
			if a, err := mail.ParseAddress(u.Email); err != nil || a.Address != u.Email {
				d.refuse(codeForm, path+".email", "%s is not an e-mail address; expected one such as ada@example.com", quote(u.Email))
			}
			d.checkPrintable(path+".email", u.Email)
		}
		for j, name := range u.Apps {
			d.reference(fmt.Sprintf("%s.apps[%d]", path, j), name, "app", apps)
		}
		d.notEmpty(path+".authorized_keys", len(u.AuthorizedKeys))
		c.finishKeys(d, i)
	}
}

func (c *Config) stackNames() []string {
	list := make([]string, 0, len(c.Stacks))
	for i := range c.Stacks {
		list = append(list, c.Stacks[i].Name)
	}
	return list
}

func (c *Config) appNames() []string {
	list := make([]string, 0, len(c.Apps))
	for i := range c.Apps {
		list = append(list, c.Apps[i].Name)
	}
	return list
}

var (
	// nameForm matches names of stacks, apps and drains, which become SSH user names and fields of
	// a syslog line.
	nameForm = lateForm(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	// userForm matches IDs of users, which other systems assign.
	userForm = lateForm(`^[!-~]{1,255}$`)
)

var envPattern = regexp.MustCompile(`^[A-Za-z_*?][A-Za-z0-9_*?]*$`)

// nameSet checks the names of one list, which must be valid and unique.
type nameSet struct {
	d           *decoder
	list, field string
	form        *regexp.Regexp
	want        string
	first       map[string]int // line of the first use of a name
}

func newNames(d *decoder, list, field string) *nameSet {
	return &nameSet{
		d: d, list: list, field: field, form: nameForm(),
		want:  "up to 63 letters, digits, \".\", \"_\" and \"-\", with a letter or a digit first",
		first: make(map[string]int),
	}
}

func (n *nameSet) add(i int, name string) {
	path := fmt.Sprintf("%s[%d].%s", n.list, i, n.field)
	if name == "" || n.d.given(path) && !n.d.usable(path) {
		return
	}
	line, twice := n.first[name]
	switch {
	case twice:
		n.d.refuse(codeDuplicate, path, "%s is already the %s of another one of the %s, at line %d; expected another one", quote(name), n.field, n.list, line)
	case !n.form.MatchString(name) && n.d.given(path):
		n.d.refuse(codeForm, path, "%s is no %s; expected %s", quote(name), n.field, n.want)
	}
	if !twice {
		n.first[name] = n.d.place(path).line
	}
}

// reference checks that the name at path is one of the existing ones.
func (d *decoder) reference(path, name, kind string, names []string) {
	// A name that is missing, or an invalid one, may be the one that is meant.
	if !d.usable(path) || slices.Contains(names, name) || nearest(name, names) == "" && d.doubtful(kind+"s") {
		return
	}
	var known []string
	for _, n := range names {
		if n != "" && !slices.Contains(known, n) {
			known = append(known, n)
		}
	}
	d.refuse(codeReference, path, "there is no %s %s%s", kind, quote(name), expected(name, known))
}

// mistaken reports whether an unknown field at the top has a name that is near to this one.
func (d *decoder) mistaken(name string) bool {
	return slices.ContainsFunc(d.mistakes, func(m Mistake) bool {
		return m.Code == codeUnknown && nearest(m.Path, []string{name}) != ""
	})
}

// doubtful reports whether a list has an error in itself, in an element or in an element's name.
func (d *decoder) doubtful(list string) bool {
	return slices.ContainsFunc(d.mistakes, func(m Mistake) bool {
		rest, ok := strings.CutPrefix(m.Path, list)
		return ok && (rest == "" || strings.HasSuffix(rest, "]") || strings.HasSuffix(rest, "].name"))
	})
}

func (d *decoder) notEmpty(path string, n int) {
	if n == 0 && d.usable(path) {
		d.refuse(codeNoValue, path, "is empty; expected at least one")
	}
}

// together checks that both or neither of two fields are set.
func (d *decoder) together(a, b string) {
	switch {
	case d.given(a) && !d.given(b):
		d.refuse(codePair, a, "is set without %s; expected both or neither", b[strings.LastIndex(b, ".")+1:])
	case d.given(b) && !d.given(a):
		d.refuse(codePair, b, "is set without %s; expected both or neither", a[strings.LastIndex(a, ".")+1:])
	}
}

// checkPrintable refuses control characters, which would break lines that contain the text, and
// other hidden characters, which make texts look alike.
func (d *decoder) checkPrintable(path, text string) {
	switch {
	case !d.usable(path):
	case strings.ContainsFunc(text, unicode.IsControl):
		d.refuse(codeForm, path, "has a control character in it, such as a line break; expected one line of text")
	case strings.ContainsFunc(text, schema.IsHidden):
		d.refuse(codeForm, path, "has a hidden character in it, such as one of zero width; expected text in which every character is visible")
	}
}

// checkAddress checks a host and a port, and reports whether they are valid. The host is optional
// for listening.
func (d *decoder) checkAddress(path, address string, listen bool) bool {
	if d.given(path) && !d.usable(path) {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	problem := ""
	switch {
	case strings.Contains(address, "://"):
		problem = "begins with a scheme, as a URL does"
	case err != nil && !strings.Contains(address, ":"):
		problem = "has no port"
	case err != nil:
		problem = "is not a host and a port (an IPv6 address needs brackets)"
	case portErr != nil || number == 0 && !listen:
		problem = "has no valid port"
	case host == "" && !listen:
		problem = "has no host"
	case !validHost(host) && host != "":
		problem = "has no valid host"
	default:
		return true
	}
	lowest := "1"
	example := "logs.example.com:6514"
	if listen {
		lowest, example = "0", "127.0.0.1:2222"
		if path == "admin.listen" {
			example = "127.0.0.1:9464"
		}
	}
	d.refuse(codeAddress, path, "%s %s; expected HOST:PORT with a port from %s to 65535, such as %s", quote(address), problem, lowest, example)
	return false
}

var hostForm = lateForm(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)

func validHost(host string) bool {
	address, _, _ := strings.Cut(host, "%") // the zone of an IPv6 address
	return net.ParseIP(address) != nil || hostForm().MatchString(host) && !strings.Contains(host, "..")
}

// parseURL parses a URL with one of the schemes. The problem contains nothing of it, because URLs
// may contain secrets.
func parseURL(text string, schemes ...string) (u *url.URL, problem string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, "is not a URL; expected " + schemes[0] + "://HOST:PORT"
	case !slices.Contains(schemes, u.Scheme):
		starts := make([]string, len(schemes))
		for i, s := range schemes {
			starts[i] = s + "://"
		}
		return nil, "begins with " + quote(u.Scheme+"://") + expected(u.Scheme+"://", starts)
	case u.User != nil:
		return nil, "has credentials in it, which would be logged; expected them in fields of their own"
	case !validHost(u.Hostname()):
		return nil, "has no valid host; expected " + schemes[0] + "://HOST:PORT"
	case u.Port() != "" && !validPort(u.Port()):
		return nil, "has no valid port; expected one from 1 to 65535"
	case u.Fragment != "":
		return nil, "has a \"#\" part, which is never sent; expected none"
	}
	return u, ""
}

// checkEncrypted checks the URL at a path, which must use encryption unless it stays on this
// machine. because may follow "is not encrypted"; u is nil if the URL is invalid.
func (d *decoder) checkEncrypted(path, text, because string) (u *url.URL) {
	u, problem := parseURL(text, "https", "http")
	switch {
	case problem != "":
		d.refuse(codeURL, path, "%s", problem)
		return nil
	case u.Scheme == "http" && !isLoopback(u):
		d.refuse(codePlain, path, "is not encrypted%s; expected https://, or this machine's own address", because)
		return nil
	}
	return u
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// isLoopback reports whether a URL's host is this machine.
func isLoopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// lateForm returns a regular expression that is compiled on first use. Every session's init runs
// this program, and the expressions with long repeats would cost it seven milliseconds and one and
// a half megabytes.
func lateForm(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
