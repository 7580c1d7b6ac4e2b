package config

import (
	"strings"
	"testing"
)

func TestFingerprint(t *testing.T) {
	setEnv(t)
	const salt = "0123456789abcdef"
	seen := make(map[string]string) // by fingerprint
	add := func(what string, d Drain, salt string) {
		t.Helper()
		f := d.Fingerprint(salt)
		if other, taken := seen[f]; taken || len(f) != 64 {
			t.Errorf("the fingerprint %q of %s is that of %s", f, what, other)
		}
		seen[f] = what
	}
	for _, d := range load(t, "testdata/good/full.yaml").Drains {
		add(d.Name, d, salt)
		add(d.Name+" with another salt", d, strings.ToUpper(salt))
	}
	for _, again := range load(t, "testdata/good/full.yaml").Drains {
		if f := again.Fingerprint(salt); seen[f] != again.Name {
			t.Errorf("the same settings of %s have the fingerprint of %q", again.Name, seen[f])
		}
	}
	one := Drain{Name: "siem", HTTPS: &HTTPS{URL: NewSecret("https://a"), Headers: map[string]Secret{"A": NewSecret("1"), "B": NewSecret("2")}}}
	add("a drain", one, salt)
	one.HTTPS.Headers = map[string]Secret{"A": NewSecret("1"), "B": NewSecret("3")}
	add("one with another secret", one, salt)
	one.HTTPS.URL = NewSecret("")
	add("one with an empty secret", one, salt)
	one.Match.Apps = []string{"web"}
	add("one with a match", one, salt)
}
