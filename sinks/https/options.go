package https

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// Defaults of Options.
const (
	DefaultTimeout         = 30 * time.Second
	DefaultMaxRequestBytes = 5 << 20
	DefaultConcurrency     = 16
)

// Options are the settings of a drain of type https. Only URL is required.
type Options struct {
	// URL is the address that requests are posted to, with the scheme https. A user and a password
	// in it are sent by basic authentication (RFC 7617). Only its host is ever printed.
	URL string
	// Username and Password are sent by basic authentication (RFC 7617), instead of those in URL.
	Username, Password string
	// Format is JSON by default.
	Format Format
	// Gzip compresses the bodies (Content-Encoding: gzip).
	Gzip bool
	// Headers are sent with each request. They replace Content-Type, User-Agent and the URL's user;
	// headers that belong to the framing of a message are refused.
	Headers http.Header
	TLS     sinks.TLS
	// Proxy is the proxy to the drain.
	Proxy sinks.Proxy
	// Timeout bounds one request, from connecting to the end of the response.
	Timeout time.Duration
	// ConnectionLifetime bounds the use of a connection: see [sinks.JitteredLifetime].
	ConnectionLifetime time.Duration
	// MaxRequestBytes is the maximum length of a body before compression. A longer record is not
	// sent, and has the verdict TooLarge.
	MaxRequestBytes int
	// MaxRequestRecords is the maximum number of records in a request; 0 for no limit.
	MaxRequestRecords int
	// MaxRecordBytes is the maximum length of one record's object, for drains that truncate longer
	// ones. A longer record is not sent, and has the verdict TooLarge. 0 for that of a request.
	MaxRecordBytes int
	// ArrayField is the name of a field: the array of the format Array is sent in an object with
	// this field; "" for the array itself.
	ArrayField string
	// Concurrency is the maximum number of requests at a time; 0 for [DefaultConcurrency].
	Concurrency int
	// Shape describes how the objects differ from the records; nil if they do not.
	Shape *Shape
	// Version is ttydrain's own, for the User-Agent.
	Version string
}

// Open implements [sinks.Opener].
func (o Options) Open() (sinks.Sink, error) { return New(o) }

// Limits implements [sinks.Opener].
func (o Options) Limits() sinks.Limits {
	return sinks.Limits{Concurrency: or(o.Concurrency, DefaultConcurrency), OneByOne: or(o.Format, JSON) == JSON}
}

// Check returns every mistake in the options, each a [*sinks.SettingError]; nil if there is none.
// It does not read the TLS files.
func (o *Options) Check() error {
	var wrong []error
	refuse := func(setting, format string, args ...any) {
		wrong = append(wrong, sinks.RefuseSetting(setting, format, args...))
	}
	if problem := checkURL(o.URL); problem != "" {
		refuse("url", "%s", problem)
	}
	switch {
	case strings.Contains(o.Username, ":"):
		refuse("username", "has a colon in it, which basic authentication cannot send (RFC 7617); expected a name without one")
	case o.Username == "" && o.Password != "":
		refuse("password", "is set without username; expected both or neither")
	}
	format := or(o.Format, JSON)
	if format.contentType() == "" {
		refuse("format", "is %q; expected %q, %q or %q", format, JSON, NDJSON, Array)
	}
	for _, limit := range []struct {
		setting  string
		negative bool
	}{
		{"timeout", o.Timeout < 0}, {"connection_lifetime", o.ConnectionLifetime < 0}, {"max_request_bytes", o.MaxRequestBytes < 0},
		{"max_request_records", o.MaxRequestRecords < 0}, {"max_record_bytes", o.MaxRecordBytes < 0},
	} {
		if limit.negative {
			refuse(limit.setting, "is negative; expected 0 or more")
		}
	}
	if o.ArrayField != "" && format != Array {
		refuse("array_field", "is for the format %q, and the format is %q", Array, format)
	}
	for name, values := range o.Headers {
		if !isToken(name) { // it can be a value, where a colon was forgotten
			refuse("headers", "has a key that is no name of a header; expected letters, digits and hyphens")
		} else if problem := checkHeader(name, values); problem != "" {
			refuse("headers."+name, "%s", problem)
		}
	}
	return errors.Join(append(wrong, o.Shape.check())...)
}

// checkURL returns the mistake in the URL, or "". It quotes nothing of it.
func checkURL(raw string) (problem string) {
	const expected = "; expected one such as https://logs.example.com/path"
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "is not set" + expected
	case err != nil:
		return "is not a valid URL" + expected + ", with special characters percent-encoded"
	case u.Scheme == "http":
		return "is http, which anybody on the way can read; expected https://"
	case u.Scheme != "https" || u.Hostname() == "":
		return "does not begin with https:// and a host" + expected
	case u.User != nil && strings.Contains(u.User.Username(), ":"):
		return "has a user with a colon in it, which basic authentication cannot send (RFC 7617); expected a name without one"
	}
	return ""
}

// splitURL returns the URL without its user and password, and these. The URL is checked.
func splitURL(raw string) (*url.URL, *url.Userinfo) {
	u, err := url.Parse(raw)
	if err != nil {
		return new(url.URL), nil // it is checked
	}
	user := u.User
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	return u, user
}

// makeHeader returns the headers that all requests have in common.
func (s *Sink) makeHeader(o Options, user *url.Userinfo) http.Header {
	h := http.Header{
		"Accept-Encoding": {sinks.Identity},
		"Content-Type":    {s.format.contentType()},
		"User-Agent":      {"ttydrain/" + or(o.Version, "devel")},
	}
	if s.gzip {
		h["Content-Encoding"] = []string{"gzip"}
	}
	if o.Username != "" {
		user = url.UserPassword(o.Username, o.Password)
	}
	if user != nil {
		password, _ := user.Password()
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
	}
	for name, values := range o.Headers {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return h
}

// ownHeaders are set by the sink itself.
var ownHeaders = []string{"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Expect", "Host", idempotencyKey, "Keep-Alive",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// checkHeader returns the mistake in a header, or "". It quotes no value.
func checkHeader(name string, values []string) (problem string) {
	if slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)) {
		return "is set by ttydrain itself; expected others, such as Authorization"
	}
	for _, value := range values {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "has a control character in it, such as a line break at its end; expected one line of text"
		}
	}
	return ""
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
