package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// goodValues are accepted values of settings by name; other settings accept any text.
var goodValues = map[string][]string{
	"name":               {"d", "logs.example"},
	"url":                {"https://127.0.0.1:9/x", "https://logs.example.com/in?source=a"},
	"urls":               {"http://127.0.0.1:9", "https://es.example.com:9200/path"},
	"address":            {"127.0.0.1:9", "[::1]:6514", "logs.example.com:6514"},
	"data_stream":        {"logs-ssh-default", "logs-x"},
	"api_key":            {"aWQ6a2V5", "id:key", "essu_abc"},
	"server_name":        {"logs.internal"},
	"fingerprint_sha256": {strings.Repeat("ab", 32)},
	"ca_file":            {"ca.crt"},
	"cert_file":          {"client.crt"},
	"key_file":           {"client.key"},
	"region":             {"na-01"},
	"tags":               {"env:production"},
	"host":               {"unix:///var/run/docker.sock", "tcp://127.0.0.1:2376"},
	"endpoint":           {"http://127.0.0.1:4318", "https://collector.example.com/v1/traces"},
	"host_key":           {"host_key", "data/host_key", "keys/of/host_key"},
	"signing_key":        {"document_key.pem", "new/document_key.pem"},
	"store":              {"data", "data/of/it"},
	"accept_env":         {"LANG", "LC_*"},
	"listen":             {"127.0.0.1:0"},
	"issuer":             {"https://auth.example.com"},
	"stacks":             {"default"},
	"apps":               {"web"},
	"proxy_header":       {"X-Forwarded-Email"},
	"trusted_proxies":    {"127.0.0.1"},
	"allowed_emails":     {"*@example.com"},
	"jwks_url":           {"https://auth.example.com/jwks.json"},
	"timeout":            {"5s"},
}

// hostileValues are tried in all settings: common mistakes, and values of an attacker.
var hostileValues = []string{
	"", " ", "a b", "ApiKey abc", "a\tb", "a\nb", "x\n", "schlüssel", "a\u0085b", "a\x7fb", "a:b:c", ":", "a:", "/", ".", "..", "~", "*", "[", "a]b", "%zz", "${", "$${X}",
	"file:", "file:missing", "file:newlines", "http://u:p@127.0.0.1:9", "https://u s:p@h/", "https://h:99999/", "https://h:0/", "https://h/#f", "https://h/?", "https://h/a b",
	"http://:9200", "ftp://h/", "//h", "h", "h:", ":443", "::1:6514", "[fe80::1%lo]:6514", "127.0.0.1:name", "my_host:1", "-1", "0", "99999999999", "1e9", "true", "null",
	strings.Repeat("a", 300), strings.Repeat("ö", 130), "ca.crt", "client.key", "empty.txt", "missing/file", "ca.crt/file", "ui2lp2axTNmsyakw9tvNnw",
}

// A generator makes configurations from the tags of config's structs.
type generator struct {
	*rand.Rand
	hostile int // one value of so many is a hostile one
}

func (g generator) oneOf(list []string) string { return list[g.IntN(len(list))] }

// structure returns a mapping with the required fields of a struct and some of the others.
func (g generator) structure(t reflect.Type) map[string]any {
	m := make(map[string]any)
	g.fields(t, m)
	return m
}

func (g generator) fields(t reflect.Type, m map[string]any) {
	var variants []string
	for f := range t.Fields() {
		if variant := f.Tag.Get("variant"); variant != "" {
			variants = append(variants, variant)
		}
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch variant := f.Tag.Get("variant"); {
		case variant != "" && m["type"] == variant:
			g.fields(f.Type.Elem(), m)
		case options == "inline":
			if g.IntN(3) == 0 {
				g.fields(f.Type, m)
			}
		case variant != "" || name == "" || name == "-":
		case name == "type" && len(variants) > 0 && g.IntN(g.hostile) > 0:
			m[name] = g.oneOf(variants)
		case f.Tag.Get("rule") == "required" || g.IntN(5) == 0:
			m[name] = g.value(name, f.Type, f.Tag)
		}
	}
}

func (g generator) value(name string, t reflect.Type, tag reflect.StructTag) any {
	hostile := g.IntN(g.hostile) == 0
	enum := tag.Get("enum")
	switch {
	case t == reflect.TypeFor[config.Secret]() || t.Kind() == reflect.String:
		switch {
		case hostile:
			return g.oneOf(hostileValues)
		case enum != "":
			return g.oneOf(strings.Split(enum, "|"))
		case goodValues[name] != nil:
			return g.oneOf(goodValues[name])
		}
		return g.oneOf([]string{"x", "some-word"})
	case hostile && t.Kind() != reflect.Struct:
		return g.oneOf(hostileValues)
	case tag.Get("as") == "size":
		return "64MB"
	case t.Kind() == reflect.Int64: // a duration
		return g.oneOf([]string{"1s", "20s", "48h", "200h"})
	case t.Kind() == reflect.Bool:
		return g.IntN(2) == 0
	case t.Kind() == reflect.Int:
		return g.IntN(12)
	case t.Kind() == reflect.Float64:
		return 0.5
	case t.Kind() == reflect.Slice:
		list := []any{}
		for range 1 + g.IntN(2) {
			list = append(list, g.value(name, t.Elem(), tag))
		}
		return list
	case t.Kind() == reflect.Map:
		return map[string]any{g.oneOf([]string{"X-A", "Authorization", "TE", "Accept-Encoding", "a b"}): g.value(name, t.Elem(), "")}
	case t.Kind() == reflect.Pointer:
		return g.structure(t.Elem())
	}
	return g.structure(t)
}

// settle restricts the configuration to what a test can start: no cluster, ports that the kernel
// chooses, and unique names of drains.
func settle(m map[string]any) {
	delete(m, "nats")
	delete(m, "sandbox")
	delete(m, "user_ca")
	m["users"] = []any{map[string]any{"id": "u-1", "name": "Ada", "email": "ada@example.com", "authorized_keys": []any{"ada.pub"}, "apps": []any{"web"}}}
	m["stacks"] = []any{map[string]any{"name": "default"}}
	m["apps"] = []any{map[string]any{"name": "web", "stack": "default"}}
	for _, name := range []string{"gateway", "admin"} {
		server, ok := m[name].(map[string]any)
		if !ok {
			server = make(map[string]any)
			m[name] = server
		}
		if text, _ := server["listen"].(string); !strings.HasPrefix(text, "127.0.0.1:0") {
			server["listen"] = "127.0.0.1:0"
		}
	}
}

// keysFolder returns a folder with the files that the configurations name.
func keysFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"ada.pub", "ca.crt", "client.crt", "client.key", "empty.txt"} {
		data, err := os.ReadFile(filepath.Join("../../pipeline/config/testdata/keys", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "newlines"), []byte("abc\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestServeAcceptsCheckedConfigurations generates configurations. What check refuses has a place;
// with what it accepts, serve can start.
func TestServeAcceptsCheckedConfigurations(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	keys := keysFolder(t)
	path := filepath.Join(keys, "ttydrain.yaml")
	const wantNodes, most = 12, 4000
	nodes, refused := 0, 0
	for seed := uint64(0); nodes < wantNodes && seed < most; seed++ {
		g := generator{rand.New(rand.NewPCG(seed, 33)), 60}
		m := g.structure(reflect.TypeFor[config.Config]())
		settle(m)
		m["store"] = fmt.Sprintf("store-%d/data", seed)
		text, err := json.Marshal(m) // which is YAML
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.LoadFiles(path, verifyParts)
		if err != nil {
			var mistakes config.Mistakes
			if !errors.As(err, &mistakes) || len(mistakes) == 0 {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			refused++
			continue
		}
		if len(c.Drains) == 0 {
			continue
		}
		nodes++
		n, err := newNode(t.Context(), c, roles{true, true, true}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("seed %d: check passes, and serve refuses: %v\n%s", seed, err, text)
			continue
		}
		for _, d := range routedDrains(c, n.log) {
			sink, err := d.Open()
			if err != nil {
				t.Errorf("seed %d: check passes, and the drain %s cannot be opened: %v\n%s", seed, d.Name, err, text)
				continue
			}
			sink.Close()
		}
		n.close()
	}
	t.Logf("%d configurations were started, %d refused", nodes, refused)
	if nodes < wantNodes || refused == 0 {
		t.Errorf("%d configurations were passed and %d refused: the generator makes too few of one kind", nodes, refused)
	}
}

// TestCheckRefusesWithPlace has invalid settings that only the sinks and the other parts recognize.
func TestCheckRefusesWithPlace(t *testing.T) {
	keys := keysFolder(t)
	path := filepath.Join(keys, "ttydrain.yaml")
	const base = `user_document: {issuer: x}
users: [{id: a, name: a, email: a@b, authorized_keys: [ada.pub], apps: [web]}]
stacks: [{name: default}]
apps: [{name: web, stack: default}]
`
	for name, test := range map[string]struct{ text, want string }{
		"a prefix of the key": {`drains: [{name: d, type: elasticsearch, urls: ["http://127.0.0.1:9"], api_key: "ApiKey abc"}]`,
			`:5:80: drains[0].api_key: begins with "ApiKey"`},
		"a line break of a file": {`drains: [{name: d, type: elasticsearch, urls: ["http://127.0.0.1:9"], api_key: "file:newlines"}]`,
			`:5:80: drains[0].api_key: has a control character`},
		"a letter that no key has": {`drains: [{name: d, type: elasticsearch, urls: ["http://127.0.0.1:9"], api_key: schlüssel}]`,
			`:5:80: drains[0].api_key: has a character in it that no API key has`},
		"a user with a colon": {`drains: [{name: d, type: elasticsearch, urls: ["http://127.0.0.1:9"], username: "a:b", password: x}]`,
			`:5:81: drains[0].username: has a colon`},
		"a fingerprint that is none": {`drains: [{name: d, type: syslog, address: "h:1", fingerprint_sha256: abc}]`,
			`:5:70: drains[0].fingerprint_sha256: is no SHA-256 fingerprint`},
		"a fingerprint and ca_file": {`drains: [{name: d, type: syslog, address: "h:1", ca_file: ca.crt, fingerprint_sha256: "` + strings.Repeat("ab", 32) + `"}]`,
			`:5:87: drains[0].fingerprint_sha256: is set together with ca_file`},
		"a folder that is a file": {"gateway: {host_key: ca.crt/host_key}", ":5:21: gateway.host_key: the file "},
		"a store that is a file":  {"store: ca.crt", ":5:8: store: "},
		"two kinds of URLs":       {"nats: {url: \"nats://a:1,ws://b:2\"}", ":5:13: nats.url: has URLs of WebSockets"},
		"a seed with a wrong sum": {"nats: {url: \"nats://a:1\", nkey_seed_file: seed}", ":5:43: nats.nkey_seed_file: is not accepted"},
	} {
		if err := os.WriteFile(filepath.Join(keys, "seed"), []byte("SU"+strings.Repeat("A", 56)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(base+test.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := config.LoadFiles(path, verifyParts)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: one mistake is several:\n%v", name, err)
		}
	}
}
