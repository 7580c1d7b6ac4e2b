package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxNames is the number of names from which on a message that has a better one lists them no more.
const maxNames = 8

// unknownField ends the message about an unknown field with what is expected instead.
func unknownField(name string, allowed, known []string) string {
	if hint := hintFor(name, allowed); hint != "" {
		return "; expected " + hint
	}
	if near := nearest(name, known); near != "" && len(allowed) > maxNames {
		return "; did you mean \"" + near + "\"?"
	}
	return expected(name, allowed, known...)
}

// insteadOf returns what is expected instead of a field of another type of drain.
func insteadOf(name string, allowed []string) string {
	if hint := hintFor(name, allowed); hint != "" {
		return "expected " + hint
	}
	if near := nearest(name, allowed); near != "" {
		return "expected it left out; did you mean \"" + near + "\"?"
	}
	return "expected it left out, or the other type"
}

// credentialNames are names under which a token for HTTP is often sought.
var credentialNames = []string{"token", "api_key", "apikey", "api-key", "bearer", "bearer_token", "access_token", "auth", "auth_token", "authorization", "Authorization"}

// hintFor returns what is expected instead of a field that has another name and form here; "" if
// that is unknown.
func hintFor(name string, allowed []string) string {
	has := func(field string) bool { return slices.Contains(allowed, field) }
	switch {
	case (name == "ssh_keys" || name == "keys" || name == "public_keys" || name == "ssh_key") && has("authorized_keys"):
		return "authorized_keys: [ssh-ed25519 AAAA…], or a list of files"
	case slices.Contains(credentialNames, name) && has("headers") && has("username"):
		return "the value as a header: headers: {Authorization: \"Bearer ${TOKEN}\"}, or username and password"
	case slices.Contains(credentialNames, name) && has("api_key") && has("username"):
		return "api_key, or username and password"
	case slices.Contains(credentialNames, name) && has("api_key"):
		return "api_key"
	case slices.Contains(credentialNames, name) && has("ingestion_key"):
		return "ingestion_key"
	case slices.Contains(credentialNames, name) && has("source_name"): // sumologic
		return "the token in url, which is the whole address of the collector"
	case (name == "host" || name == "hostname" || name == "server" || name == "port" || name == "url" || name == "urls" || name == "endpoint") && has("address"):
		return "address: HOST:PORT"
	case (name == "host" || name == "hostname" || name == "server" || name == "port" || name == "address" || name == "endpoint" || name == "urls") && has("url"):
		return "url: https://HOST:PORT/PATH"
	case (name == "host" || name == "hosts" || name == "hostname" || name == "server" || name == "port" || name == "address" || name == "endpoint" || name == "url") && has("urls"):
		return "urls: [https://HOST:PORT]"
	case (name == "index" || name == "index_name") && has("data_stream"):
		return "data_stream, such as logs-ssh-default"
	case (name == "tls" || name == "ssl" || name == "ca" || name == "verify" || name == "insecure" || name == "insecure_skip_verify") && has("ca_file"):
		return "ca_file, the PEM file of the authority to trust, or fingerprint_sha256; TLS is always verified"
	}
	return ""
}

// childFollows reports whether a field, which has no value, is followed by an unknown one that
// belongs to it.
func childFollows(f *field, given, allowed []string) bool {
	i := slices.Index(given, f.name) + 1
	return i < len(given) && !slices.Contains(allowed, given[i]) && slices.Contains(namesWithin(f), given[i])
}

// emptyBefore returns the name of the field just before the unknown field called name, if that one
// has no value and name is a field of it.
func emptyBefore(fields []field, given []string, nodes map[string]*ast.MappingValueNode, name string) string {
	for i := slices.Index(given, name) - 1; i >= 0; i-- {
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == given[i] })
		if at < 0 {
			continue // unknown, too
		}
		if _, isNull := nodes[given[i]].Value.(*ast.NullNode); isNull && slices.Contains(namesWithin(&fields[at]), name) {
			return given[i]
		}
		return ""
	}
	return ""
}

// namesWithin returns the names of the fields of a field that is a mapping.
func namesWithin(f *field) []string {
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == secretType {
		return nil
	}
	fields, _ := fieldsOf(t)
	return names(fields)
}

// hintedFields are those that hints name first.
var hintedFields = []string{"address", "url", "urls", "data_stream", "authorized_keys", "api_key", "ingestion_key"}

// meantBy returns the field that was probably meant by an unknown one; "" for none.
func meantBy(name string, allowed, missing []string) string {
	if hint := hintFor(name, allowed); hint != "" {
		for _, field := range hintedFields {
			if rest, ok := strings.CutPrefix(hint, field); ok && (rest == "" || strings.ContainsAny(rest[:1], ":, ")) {
				return field
			}
		}
	}
	return nearest(name, missing)
}

// isPasted reports whether a text is probably the content of a file, such as a private key, where
// its path or a name is expected. It must not be quoted.
func isPasted(text string) bool {
	return isBlock(text) || pastedForm().MatchString(text)
}

// isBlock reports whether a text has a block of PEM, or its begin, in it.
func isBlock(text string) bool {
	return strings.Contains(text, "-----BEGIN") || strings.Contains(text, "PRIVATE KEY-----")
}

// pastedForm matches a line of a key in base64. What begins with a slash is an absolute path, which
// can be as long and have the same characters.
var pastedForm = lateForm(`^[A-Za-z0-9+=][A-Za-z0-9+/=]{43,}$`)
