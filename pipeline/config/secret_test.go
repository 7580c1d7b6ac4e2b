package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
)

// TestSecretNeverPrints prints a secret in every way there is: alone, in the structs that have it,
// in fields that no printer may ask, by pointers, in maps and errors.
func TestSecretNeverPrints(t *testing.T) {
	const value = "hunter2"
	s := NewSecret(value)
	type unexported struct{ secret Secret }
	type embedding struct{ Secret }
	subjects := map[string]any{
		"itself":        s,
		"pointer":       &s,
		"map":           map[string]Secret{"a": s},
		"list":          []Secret{s},
		"unexported":    unexported{s},
		"to unexported": &unexported{s},
		"embedded":      embedding{s},
		"any":           []any{s, map[string]any{"b": s}},
		"drain":         Drain{HTTPS: &HTTPS{Headers: map[string]Secret{"A": s}}, Syslog: &Syslog{Token: s}},
		"presets": []Drain{{Datadog: &Datadog{APIKey: s}, HTTPS: (&Datadog{APIKey: s}).https()},
			{SumoLogic: &SumoLogic{URL: s, Category: "c"}, HTTPS: (&SumoLogic{URL: s}).https()},
			{LogDNA: &LogDNA{IngestionKey: s}, HTTPS: (&LogDNA{IngestionKey: s}).https()},
			{SolarWinds: &SolarWinds{Token: s}, Syslog: (&SolarWinds{Token: s}).syslog()}},
		"elasticsearch": &Elasticsearch{APIKey: s, Password: s},
		"config":        &Config{NATS: &NATS{Password: s, Token: s}, Apps: []App{{Env: map[string]Secret{"A": s}}}},
		"error":         fmt.Errorf("write to %v: %w", s, errors.New("no")),
	}
	for name, subject := range subjects {
		var printed []string
		for _, verb := range "vsqxXdoOObcUeEfFgGtTpw" {
			for _, flags := range []string{"", "+", "#", "-20", " ", "020"} {
				printed = append(printed, fmt.Sprintf("%"+flags+string(verb), subject))
			}
		}
		printed = append(printed, fmt.Sprint(subject), fmt.Sprintln(subject))
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
			out, _ := marshal(subject) // where a printer refuses, it prints nothing
			printed = append(printed, string(out))
		}
		var log bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
			l := slog.New(handler)
			l.Info("x", "key", subject, slog.Group("g", "key", subject))
			l.With("key", subject).Info(fmt.Sprint(subject))
		}
		printed = append(printed, log.String())
		var out bytes.Buffer
		if err := template.Must(template.New("").Parse("{{.}}")).Execute(&out, subject); err != nil {
			t.Fatal(err)
		}
		printed = append(printed, out.String())
		for _, p := range printed {
			for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value))} {
				if strings.Contains(p, form) {
					t.Errorf("%s prints the secret: %s", name, p)
				}
			}
		}
	}
}

func TestSecretPrintsPlaceholder(t *testing.T) {
	s := NewSecret("hunter2")
	asJSON, err := json.Marshal(map[string]any{"a": s, "b": &s})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]Secret{"a": s})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		s.String():             hidden,
		s.GoString():           hidden,
		fmt.Sprintf("%v", s):   hidden,
		fmt.Sprintf("%#v", s):  hidden,
		fmt.Sprintf("%d", &s):  hidden,
		s.LogValue().String():  hidden,
		string(text):           hidden,
		string(asJSON):         `{"a":"[secret]","b":"[secret]"}`,
		string(asYAML):         "a: \"[secret]\"\n",
		Secret{}.String():      hidden,
		NewSecret("").Reveal(): "",
		Secret{}.Reveal():      "",
		s.Reveal():             "hunter2",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !NewSecret("").IsSet() || (Secret{}).IsSet() {
		t.Error("IsSet does not tell an empty secret from none")
	}
	if !reflect.DeepEqual(s, NewSecret("hunter2")) || reflect.DeepEqual(s, NewSecret("hunter3")) {
		t.Error("DeepEqual does not compare the values")
	}
}

func TestResolveSecret(t *testing.T) {
	t.Setenv("TTYDRAIN_TEST_A", "a")
	t.Setenv("TTYDRAIN_TEST_FILE", "file:token.txt")
	t.Setenv("TTYDRAIN_TEST_NESTED", "${TTYDRAIN_TEST_A}")
	t.Setenv("TTYDRAIN_TEST_FOLDER", "keys")
	for text, want := range map[string]string{
		"plain":                                  "plain",
		"":                                       "",
		"${TTYDRAIN_TEST_A}":                     "a",
		"x${TTYDRAIN_TEST_A}${TTYDRAIN_TEST_A}y": "xaay",
		"$${TTYDRAIN_TEST_A}":                    "${TTYDRAIN_TEST_A}",
		"$$${TTYDRAIN_TEST_A}":                   "$${TTYDRAIN_TEST_A}",
		"${TTYDRAIN_TEST_A}$${TTYDRAIN_TEST_A}":  "a${TTYDRAIN_TEST_A}",
		"$$":                                     "$$",
		"$x {y}":                                 "$x {y}",
		"${TTYDRAIN_TEST_NESTED}":                "${TTYDRAIN_TEST_A}",
		"${TTYDRAIN_TEST_FILE}":                  "file:token.txt",
		"Bearer file:x":                          "Bearer file:x",
		"file:keys/token.txt":                    "token-of-a-file",
		"file: keys/token.txt":                   "token-of-a-file",
		"file:${TTYDRAIN_TEST_FOLDER}/token.txt": "token-of-a-file",
		"file:keys/lines.txt":                    "two\nlines",
		"file:keys/../../testdata/keys/token.txt": "token-of-a-file",
	} {
		got, _, err := (&decoder{dir: "testdata"}).resolveSecret("", text)
		if err != nil || got != want {
			t.Errorf("resolveSecret(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestPrivateFiles: what a session must not see is all that holds a secret, and nothing that it may
// need.
func TestPrivateFiles(t *testing.T) {
	setEnv(t)
	got := load(t, "testdata/good/minimal.yaml").PrivateFiles()
	want := []string{"testdata/good/minimal.yaml", "testdata/good/data", "testdata/good/host_key", "testdata/good/document_key.pem"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	full := load(t, "testdata/good/full.yaml")
	for _, path := range full.PrivateFiles() {
		if strings.HasSuffix(path, ".pub") || strings.HasSuffix(path, ".crt") {
			t.Errorf("%s is no secret", path)
		}
	}
	for _, name := range []string{"/client.key", "/token.txt"} {
		if !slices.ContainsFunc(full.PrivateFiles(), func(path string) bool { return strings.HasSuffix(path, name) }) {
			t.Errorf("%s is not among %q", name, full.PrivateFiles())
		}
	}
	if a := full.Apps[0]; a.Network != "none" || !a.Writable || !slices.Contains(full.Sandbox.Require, "seccomp") {
		t.Errorf("%+v %+v", a, full.Sandbox)
	}
}
