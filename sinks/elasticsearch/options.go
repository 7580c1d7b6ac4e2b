package elasticsearch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/ttydrain/ttydrain/sinks"
)

// Check returns every mistake in the options, each a [*sinks.SettingError]; nil if there is none.
// It does not read the TLS files.
func (o *Options) Check() error {
	var wrong []error
	refuse := func(setting, format string, args ...any) {
		wrong = append(wrong, sinks.RefuseSetting(setting, format, args...))
	}
	if len(o.URLs) == 0 {
		refuse("urls", "is empty; expected at least one URL, such as https://es.example.com:9200")
	}
	for i, text := range o.URLs {
		if problem := checkURL(text); problem != "" {
			refuse(fmt.Sprintf("urls[%d]", i), "%s", problem)
		}
	}
	if err := CheckDataStream(o.DataStream); err != nil {
		wrong = append(wrong, err)
	}
	switch {
	case o.APIKey != "" && (o.Username != "" || o.Password != ""):
		refuse("api_key", "is set together with username and password; expected only one way to log in")
	case o.Username == "" && o.Password != "":
		refuse("password", "is set without username; expected both or neither")
	case o.Username != "" && o.Password == "":
		refuse("username", "is set without password; expected both or neither")
	}
	if problem := checkAPIKey(o.APIKey); problem != "" {
		refuse("api_key", "%s", problem)
	}
	if strings.Contains(o.Username, ":") {
		refuse("username", "has a colon in it, which basic authentication cannot send (RFC 7617); expected a name without one")
	}
	switch o.Product {
	case "", Auto, Elasticsearch:
	case OpenSearch:
		if o.APIKey != "" {
			refuse("api_key", "is for Elasticsearch, and product is opensearch, which has no API keys; expected username and password")
		}
	default:
		refuse("product", "is %q; expected %s, %s or %s", o.Product, Auto, Elasticsearch, OpenSearch)
	}
	if o.Timeout < 0 {
		refuse("timeout", "is %s; expected a positive duration", o.Timeout)
	}
	if o.ConnectionLifetime < 0 {
		refuse("connection_lifetime", "is %s; expected a positive duration", o.ConnectionLifetime)
	}
	if o.MaxRequestBytes < 0 || o.MaxRequestBytes > largestMaxRequestBytes {
		refuse("max_request_bytes", "is %d; expected 1 to %d", o.MaxRequestBytes, largestMaxRequestBytes)
	}
	return errors.Join(wrong...)
}

// checkURL returns the mistake in one of the URLs, or "". It quotes nothing of it: it
// could have a password.
func checkURL(text string) (problem string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "is not a URL; expected one such as https://es.example.com:9200"
	case u.User != nil:
		return "has credentials in it, which would be printed; expected them in username and password"
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return "does not begin with http:// or https:// and a host; expected one such as https://es.example.com:9200"
	case u.RawQuery != "" || u.ForceQuery, u.Fragment != "":
		return "has something after its path; expected it to end with the host, the port or a path"
	}
	return ""
}

const keyForms = `expected the field "encoded" of Elasticsearch's answer to the key's creation, or ID:API_KEY`

// bareKey is the form of the field "api_key" of that answer, which says nothing of the key's ID.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// checkAPIKey returns the mistake in an API key, or "".
func checkAPIKey(key string) (problem string) {
	if strings.HasPrefix(strings.ToLower(key), "apikey ") {
		return `begins with "ApiKey", which ttydrain adds itself; ` + keyForms
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "has a character in it that no API key has, such as a space or a line break; " + keyForms
	}
	if id, secret, pair := strings.Cut(key, ":"); pair && (id == "" || secret == "" || strings.Contains(secret, ":")) {
		return "has a colon, but not an ID before it and a key after it; " + keyForms
	}
	if bareKey.MatchString(key) {
		return "is the key without its ID; " + keyForms
	}
	decoded, err := base64.StdEncoding.DecodeString(key)
	if err == nil && strings.HasSuffix(string(decoded), "\n") {
		return "was encoded with a line break at its end, as echo adds one; expected what printf 'ID:API_KEY' | base64 makes, or ID:API_KEY itself"
	}
	return ""
}

// EncodedKey returns an API key in the form that the Authorization header has. ID:API_KEY is the
// form that Kibana shows for Beats and Logstash; Base64 has no colon.
func EncodedKey(key string) string {
	if strings.Contains(key, ":") {
		return base64.StdEncoding.EncodeToString([]byte(key))
	}
	return key
}

// CheckDataStream checks a name by Elasticsearch's rules for names of data streams
// (https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create-data-stream).
// The error is a [*sinks.SettingError].
func CheckDataStream(name string) error {
	refuse := func(format string, args ...any) error { return sinks.RefuseSetting("data_stream", format, args...) }
	switch {
	case name == "":
		return refuse("is missing; expected a name such as logs-ssh-default")
	case len(name) > 255:
		return refuse("has %d bytes; expected at most 255", len(name))
	case strings.ContainsAny(name, "\\/*?\"<>| ,#:") || strings.ToLower(name) != name || strings.ContainsFunc(name, unicode.IsControl):
		return refuse("is %q; expected a name without \\ / * ? \" < > | , # : and without spaces and upper-case letters, such as logs-ssh-default", name)
	case strings.ContainsAny(name[:1], "-_+."):
		return refuse("is %q; expected a name that begins with none of - _ + ., such as logs-ssh-default", name)
	}
	return nil
}
