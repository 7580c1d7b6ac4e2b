package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// newSecret returns a unique password, with characters that encodings change.
func newSecret() string { return `p"ä\ %+<` + rand.Text()[:16] }

// A form is a way to write a secret.
type form struct {
	name string
	text []byte
}

// formsOf returns the forms in which a secret could appear.
func formsOf(secret string) []form {
	forms := []form{{"raw", []byte(secret)}}
	add := func(name, text string) { forms = append(forms, form{name, []byte(text)}) }

	// In base64 the text depends on how many bytes stand before, modulo three; the characters at the
	// edges depend on the neighbours.
	for before := range 3 {
		data := append(make([]byte, before), secret...)
		first, last := (before*8+5)/6, len(data)*8/6
		add(fmt.Sprintf("base64 behind %d bytes", before), base64.RawStdEncoding.EncodeToString(data)[first:last])
		add(fmt.Sprintf("URL-safe base64 behind %d bytes", before), base64.RawURLEncoding.EncodeToString(data)[first:last])
	}

	add("hexadecimal", hex.EncodeToString([]byte(secret)))
	add("upper-case hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(secret))))
	add("spaced hexadecimal", fmt.Sprintf("% x", secret))

	add("URL query", url.QueryEscape(secret))
	add("URL path", url.PathEscape(secret))
	var percent, escaped strings.Builder
	for _, b := range []byte(secret) {
		fmt.Fprintf(&percent, "%%%02x", b)
	}
	add("URL, all", percent.String())
	add("URL, all, upper-case", strings.ToUpper(percent.String()))

	for _, r := range utf16.Encode([]rune(secret)) {
		fmt.Fprintf(&escaped, `\u%04x`, r)
	}
	add("JSON, all", escaped.String())
	quoted, _ := json.Marshal(secret)
	add("JSON", string(quoted[1:len(quoted)-1]))
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.Encode(secret)
	add("JSON without HTML", strings.Trim(buffer.String(), "\"\n"))
	add("Go", strings.Trim(fmt.Sprintf("%q", secret), `"`))
	add("Go in ASCII", strings.Trim(fmt.Sprintf("%+q", secret), `"`))
	add("syslog parameter", strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(secret))

	reversed := []byte(secret)
	slices.Reverse(reversed)
	add("reversed bytes", string(reversed))
	runes := []rune(secret)
	slices.Reverse(runes)
	add("reversed", string(runes))

	var big, little []byte
	for _, u := range utf16.Encode([]rune(secret)) {
		big = append(big, byte(u>>8), byte(u))
		little = append(little, byte(u), byte(u>>8))
	}
	add("UTF-16", string(big))
	add("UTF-16, little-endian", string(little))
	// Its random half only, in case the rest was changed.
	add("half", secret[len(secret)-16:])
	return forms
}

// TestFormsAreFound checks that a secret is found in each form.
func TestFormsAreFound(t *testing.T) {
	secret := newSecret()
	for name, text := range map[string]string{
		"raw":     "xx" + secret + "yy",
		"base64":  base64.StdEncoding.EncodeToString([]byte("x" + secret + "yy")),
		"base64b": base64.StdEncoding.EncodeToString([]byte("xx" + secret + "yy")),
		"base64c": base64.URLEncoding.EncodeToString([]byte("xxx" + secret + "yy")),
		"hex":     hex.EncodeToString([]byte("x" + secret)),
		"query":   url.Values{"p": {secret}}.Encode(),
		"json":    fmt.Sprintf(`{"a":%q}`, secret),
		"half":    "x" + secret[len(secret)-16:],
	} {
		if found := findSecret([]byte(text), secret); found == "" {
			t.Errorf("%s: the secret was not found in %q", name, text)
		}
	}
	if found := findSecret([]byte(newSecret()), secret); found != "" {
		t.Errorf("another secret was found as %s", found)
	}
}

// findSecret returns the form in which a secret is in the data; "" for none.
func findSecret(data []byte, secret string) string {
	for _, f := range formsOf(secret) {
		if bytes.Contains(data, f.text) {
			return f.name
		}
	}
	return ""
}

// A haystack is a place in which there must be no secret.
type haystack struct {
	name string
	data []byte
}

// haystacksOf returns the copy of a drain as it arrived, and as a reader shows it.
func haystacksOf(t testing.TB, d *destination, operation string) []haystack {
	t.Helper()
	var whole, text []byte
	for _, r := range d.arrived(t, 0) {
		whole = append(whole, r.Whole...)
		text = append(append(text, r.Text...), '\n')
	}
	stacks := []haystack{{d.name + "'s copy", whole}, {d.name + "'s texts", text}}
	if d.exact {
		stacks = append(stacks, haystack{d.name + "'s bytes", d.transcript(t, operation).shown})
	}
	return stacks
}

// storedFiles returns the files of a site's store.
func storedFiles(t testing.TB, s *site) []haystack {
	t.Helper()
	var stacks []haystack
	err := filepath.WalkDir(s.store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		stacks = append(stacks, haystack{path, data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return stacks
}
