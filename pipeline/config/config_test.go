package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

var update = flag.Bool("update", false, "write the expected messages of testdata/bad")

// TestMain gives the files of testdata that have secrets the permissions that version control does
// not keep.
func TestMain(m *testing.M) {
	flag.Parse()
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml", "testdata/keys/*"} {
		files, err := filepath.Glob(pattern)
		for _, file := range files {
			err = errors.Join(err, os.Chmod(file, 0o600))
		}
		if err != nil || len(files) == 0 {
			panic(fmt.Sprintf("%s: %d files, %v", pattern, len(files), err))
		}
	}
	os.Exit(m.Run())
}

// setEnv sets the variables that testdata uses. Those that hold secrets have "hunter" in them, as
// the literal secrets in testdata/bad have, so that a message which quotes one is found.
func setEnv(t testing.TB) {
	t.Setenv("TTYDRAIN_TEST_PASSWORD", "hunter-password")
	t.Setenv("TTYDRAIN_TEST_TOKEN", "hunter-token")
	t.Setenv("TTYDRAIN_TEST_EMPTY", "")
}

func glob(t testing.TB, pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	return files
}

func load(t testing.TB, path string) *Config {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatalf("Load(%s):\n%v", path, err)
	}
	return c
}

func mistakesOf(t testing.TB, err error) Mistakes {
	t.Helper()
	var m Mistakes
	if !errors.As(err, &m) || len(m) == 0 {
		t.Fatalf("got %T %v, want Mistakes", err, err)
	}
	return m
}

func TestGood(t *testing.T) {
	setEnv(t)
	for _, path := range glob(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) { load(t, path) })
	}
}

// TestBad compares the messages for each bad file with the .txt beside it, where TYPES stands for
// the list of drain types.
func TestBad(t *testing.T) {
	setEnv(t)
	_, variants := fieldsOf(reflect.TypeFor[Drain]())
	var types []string
	for _, v := range variants {
		types = append(types, v.name)
	}
	typeList := strings.Join(types, ", ")
	for _, path := range glob(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := Load(path)
			if c != nil {
				t.Error("a configuration with mistakes was returned")
			}
			got := mistakesOf(t, err).Error() + "\n"
			if strings.Contains(got, "hunter") {
				t.Errorf("a message quotes a secret:\n%s", got)
			}
			got = strings.ReplaceAll(got, typeList, "TYPES")
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestSevenMistakes(t *testing.T) {
	_, err := Load("testdata/bad/seven.yaml")
	if m := mistakesOf(t, err); len(m) != 7 {
		t.Errorf("%d messages for seven mistakes:\n%v", len(m), m)
	}
}

func TestStartups(t *testing.T) {
	for text, want := range map[string]Startups{"10:30:100": {10, 30, 100}, "7": {7, 100, 7}, "1:100:1": {1, 100, 1}} {
		if got, err := parseStartups(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "10:30", "10:0:100", "10:101:100", "100:30:10", "0:30:100", "10:30:100:1", "10:30:x", "10:30:200000", "9999999999"} {
		if got, err := parseStartups(text); err == nil {
			t.Errorf("%s was taken for %v", text, got)
		}
	}
}

func TestDefaults(t *testing.T) {
	got := load(t, "testdata/good/minimal.yaml")
	ada := got.Users[0].Keys
	if len(ada) != 1 {
		t.Fatalf("%d keys, want 1", len(ada))
	}
	want := &Config{
		Store:   "testdata/good/data",
		Streams: Streams{Retention: 336 * time.Hour},
		Gateway: Gateway{
			Listen: "127.0.0.1:2222", HostKeys: []string{"testdata/good/host_key"}, AcceptEnv: []string{"LANG", "LC_*"}, Banner: "interactive", StopTimeout: 10 * time.Second,
			KeepaliveInterval: 15 * time.Second, KeepaliveCount: 4,
			MaxStartups: "10:30:100", Startups: Startups{10, 30, 100}, PerSourceNetBlockSize: "32:64", NetBlock: NetBlock{32, 64},
			PerSourcePenalties: SourcePenalties{
				Enabled: true, Crash: 90 * time.Second, AuthFail: 5 * time.Second, NoAuth: time.Second, GraceExceeded: 10 * time.Second,
				Max: 10 * time.Minute, Min: 15 * time.Second, MaxSources4: 65536, MaxSources6: 65536,
			},
			LoginGraceTime: 2 * time.Minute, MaxAuthTries: 6, MaxSessions: 10, MaxConnections: 4096, MaxConnectionsPerUser: 256,
			MaxSessionsPerUser: 512, UnusedConnectionTimeout: 10 * time.Minute,
		},
		Sandbox: Sandbox{UIDRange: "1879048192-1879113727"},
		Admin: Admin{Listen: "127.0.0.1:9464", Socket: "testdata/good/data/admin/admin.sock",
			Limits: AdminLimits{MaxConnections: 512, MaxConnectionsPerAddress: 128}},
		UserDocument: UserDocument{Issuer: "https://auth.example.com", SigningKey: "testdata/good/document_key.pem", Algorithm: "EdDSA"},
		Users:        []User{{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com", AuthorizedKeys: []string{"../keys/ada.pub"}, Apps: []string{"web"}, Keys: ada}},
		Stacks:       []Stack{{Name: "default", Plan: "starter", Sessions: 1, SessionDuration: 168 * time.Hour}},
		Apps:         []App{{Name: "web", ID: "web", Stack: "default", Service: "web", Runtime: "sandbox", Command: []string{"/bin/bash"}, Memory: 1 << 30, Pull: "never", Pids: 4096, Network: "host", FileTransfer: "none", SFTPServer: "/usr/lib/openssh/sftp-server"}},
		Docker:       Docker{Host: "unix:///var/run/docker.sock"},
		Log:          Log{Level: "info", Format: "text"},
		private:      got.private,
		file:         "testdata/good/" + filepath.Base(got.file),
		places:       got.places,

		InsecureFilePermissions: "refuse",
		byKey:                   map[string]int{string(ada[0].Marshal()): 0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFull(t *testing.T) {
	setEnv(t)
	c := load(t, "testdata/good/full.yaml")
	web := c.Apps[0]
	if web.ID != "1042" || web.Service != "web-cmd" || web.Memory != 2<<30 || web.Root != "testdata/root" || c.Apps[1].Memory != 512<<20 {
		t.Errorf("app: %+v, %+v", web, c.Apps[1])
	}
	if got, want := web.Command[2], "echo ${HOME}; exec /bin/sh"; got != want {
		t.Errorf("command %q, want %q", got, want)
	}
	env := map[string]string{
		"RAILS_ENV": "production", "WORKERS": "4", "DEBUG": "false", "EMPTY": "",
		"DATABASE_URL": "postgres://app:hunter-password@db/app", "TEMPLATE": "${NOT_REPLACED}",
	}
	compareSecrets(t, web.Env, env)
	if c.SyncInterval != 250*time.Millisecond || c.Store != "/var/lib/ttydrain" || c.Stacks[0].SessionDuration != 90*time.Minute {
		t.Errorf("sync_interval %v, store %s, session_duration %v", c.SyncInterval, c.Store, c.Stacks[0].SessionDuration)
	}
	if c.Streams != (Streams{MaxBytes: 20 << 30, Retention: 720 * time.Hour}) {
		t.Errorf("streams %+v", c.Streams)
	}
	if c.Tracing == nil || c.Tracing.SampleRatio != 0.25 || c.Tracing.Headers["Authorization"].Reveal() != "Bearer hunter-token" || c.Log != (Log{"debug", "json"}) {
		t.Errorf("tracing %+v, log %+v", c.Tracing, c.Log)
	}
	if n := len(c.Users[1].Keys); n != 2 {
		t.Errorf("Bob has %d keys, want 2", n)
	}
	if n := len(c.Users[0].Keys); n != 1 {
		t.Errorf("Ada has %d keys, want 1: the same one stands there twice", n)
	}

	tls := TLS{CAFile: "testdata/keys/ca.crt", CertFile: "testdata/keys/client.crt", KeyFile: "testdata/keys/client.key", ServerName: "logs.internal"}
	siem := Drain{
		Name: "siem", Type: "https", Match: Match{Stacks: []string{"default"}, Apps: []string{"web"}}, DrainEphemeralSessions: true,
		Batch: Batch{Records: 500, Bytes: 512 << 10, Wait: 100 * time.Millisecond}, Timeout: 10 * time.Second, ConnectionLifetime: 2 * time.Minute,
		HTTPS: &HTTPS{
			URL: NewSecret("https://logs.example.com:8443/in?source=ttydrain"), MaxRequestBytes: 2 << 20, Format: "array", Compression: "gzip", Concurrency: 8, TLS: tls,
			Headers: map[string]Secret{
				"Authorization": NewSecret("Bearer hunter-token"), "X-Api-Key": NewSecret("token-of-a-file"), "X-Number": NewSecret("17"),
			},
		},
	}
	if !reflect.DeepEqual(c.Drains[0], siem) {
		t.Errorf("got  %+v\nwant %+v", c.Drains[0], siem)
	}
	if h := c.Drains[1].HTTPS; h == nil || h.URL.Reveal() != "https://localhost:8080/hunter-password?key=hunter-password" || h.Username != "ttydrain" || h.Password.Reveal() != "hunter-password" {
		t.Errorf("https: %+v", h)
	}
	if es := c.Drains[2].Elasticsearch; es.Compression != "gzip" || es.MaxRequestBytes != 1<<20 || es.URLs[1].Reveal() != "https://es2.example.com:9200/es" {
		t.Errorf("elasticsearch: %+v", es)
	}
	if es := c.Drains[2].Elasticsearch; es == nil || es.ManageTemplate || es.Password.Reveal() != "hunter-password" || es.APIKey.IsSet() {
		t.Errorf("elasticsearch: %+v", es)
	}
	if s := c.Drains[4].Syslog; s == nil || s.Framing != "newline" || s.Facility != "authpriv" || !s.Exact || s.MaxMessageBytes != 64<<10 || s.ConnectionGrace != 20*time.Second || s.Token.Reveal() != "hunter-token" || s.TLS != tls {
		t.Errorf("syslog: %+v", s)
	}
}

func compareSecrets(t *testing.T, got map[string]Secret, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name].Reveal() != value || !got[name].IsSet() {
			t.Errorf("%s: got %q, want %q", name, got[name].Reveal(), value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d of them, want %d", len(got), len(want))
	}
}

// TestReload compares drains as a reload does.
func TestReload(t *testing.T) {
	setEnv(t)
	before, after := load(t, "testdata/good/full.yaml"), load(t, "testdata/good/full.yaml")
	if !reflect.DeepEqual(before.Drains, after.Drains) {
		t.Error("the same file gives other drains")
	}
	t.Setenv("TTYDRAIN_TEST_TOKEN", "another")
	after = load(t, "testdata/good/full.yaml")
	for i, changed := range []bool{true, false, false, false, true, false} {
		if same := reflect.DeepEqual(before.Drains[i], after.Drains[i]); same == changed {
			t.Errorf("drain %s: same is %v after a secret changed", before.Drains[i].Name, same)
		}
	}
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := parse("testdata/good/moved.yaml", append([]byte("# a comment\n\n"), data...))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(after.Drains, moved.Drains) {
		t.Error("drains are others because they stand on other lines")
	}
}

func TestPlaces(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		want string // the first message begins with it
	}{
		"carriage returns":  {"# a comment\r\nstore: x\r\nstor: y\r\n", "f.yaml:3:1: stor: "},
		"byte order mark":   {"\ufeffstor: y\n", "f.yaml:1:1: stor: "},
		"wide characters":   {"admin: {\"é\": 1, lsten: 2}\n", "f.yaml:1:9: admin: has an unknown field"},
		"no space":          {"admin: {listen:x}\n", "f.yaml:1:9: admin: has an unknown field with a colon"},
		"literal":           {"store: |\n  ${X}\n", "f.yaml:1:8: store: "},
		"explicit document": {"---\nstor: y\n", "f.yaml:2:1: stor: "},
		"in a list":         {"drains:\n  - name: a\n    type: x\n", "f.yaml:3:11: drains[0].type: "},
		"missing in a list": {"drains:\n  -\n    name: a\n", "f.yaml:3:5: drains[0].type: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse("f.yaml", []byte(test.data))
			m := mistakesOf(t, err)
			for _, mistake := range m {
				if strings.HasPrefix(mistake.Error(), test.want) {
					return
				}
			}
			t.Errorf("no message begins with %s:\n%v", test.want, m)
		})
	}
}

// TestColons is for plain scalars with colons in brackets and braces.
func TestColons(t *testing.T) {
	for text, want := range map[string]any{
		"{a: [http://x:1]}":             map[string]any{"a": []any{"http://x:1"}},
		"{a: [http://x:1, https://y/]}": map[string]any{"a": []any{"http://x:1", "https://y/"}},
		"[{a: [x:1, b:c:d, 1:2]}]":      []any{map[string]any{"a": []any{"x:1", "b:c:d", "1:2"}}},
		"{a: x:1, b: :0, c: é:1}":       map[string]any{"a": "x:1", "b": ":0", "c": "é:1"},
		"{a: [é:1, b: c]}":              map[string]any{"a": []any{"é:1", map[string]any{"b": "c"}}},
		`{"a":b, 'c': "d:e"}`:           map[string]any{"a": "b", "c": "d:e"},
		"a: x:1\nb: [y:2]\n":            map[string]any{"a": "x:1", "b": []any{"y:2"}},
	} {
		d := &decoder{places: make(map[string]place)}
		root := d.parse([]byte(text))
		if root == nil {
			t.Errorf("%s: %v", text, d.mistakes)
			continue
		}
		var got any
		if err := yaml.NodeToValue(root, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	for path, want := range map[string]string{
		"testdata/none.yaml": "testdata/none.yaml:1:1: does not exist; expected the configuration, a YAML file [E302]",
		"testdata":           "testdata:1:1: is a folder, not a file; expected the configuration, a YAML file [E302]",
	} {
		_, err := Load(path)
		if got := mistakesOf(t, err).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHostKey(t *testing.T) {
	const rest = `
user_document: {issuer: x}
users: [{id: a, name: a, email: a@b, authorized_keys: [ada.pub], apps: []}]
stacks: [{name: default}]
apps: [{name: web, stack: default, command: [x]}]
`
	dir := t.TempDir()
	copyFile := func(from, to string, mode os.FileMode) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	copyFile("testdata/keys/ada.pub", "ada.pub", 0o644)
	copyFile("testdata/keys/client.key", "good", 0o600)
	copyFile("testdata/keys/client.key", "open", 0o640)
	copyFile("testdata/keys/client.crt", "none", 0o600)
	keygen := func(name string, key crypto.PrivateKey) {
		t.Helper()
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, another, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keygen("ed25519", another)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keygen("ecdsa", curve)
	for name, bits := range map[string]int{"rsa": 2048, "small": 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		keygen(name, key)
	}
	for name, want := range map[string]string{
		"good": "", "missing": "", "open": "chmod 600", "none": "holds no private key",
		"ed25519": "", "rsa": "", "ecdsa": "", "small": "expected 2048 or more",
		"[ed25519, rsa, ecdsa]": "", "[missing, rsa]": "", "[missing, ed25519]": "one key of each type",
		"[rsa, rsa]": "host_key[1]: the file", "[rsa, missing]": "only the first of several is created",
		"[]": "expected at least one", "{}": "is a mapping; expected the path of a file, or a list",
	} {
		_, err := parse(filepath.Join(dir, "f.yaml"), []byte("gateway: {host_key: "+name+"}"+rest))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && !strings.Contains(mistakesOf(t, err).Error(), want):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestAuthorize(t *testing.T) {
	setEnv(t)
	c := load(t, "testdata/good/full.yaml")
	ada, bob, eve := c.Users[0].Keys[0], c.Users[1].Keys[1], c.Users[2].Keys[0]
	stranger := readKey(t, "testdata/keys/options.pub") // Eve's; replaced below
	if string(stranger.Marshal()) != string(eve.Marshal()) {
		t.Fatal("options.pub is not Eve's key")
	}
	signer, err := ssh.ParsePrivateKey(mustRead(t, "testdata/keys/client.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, app string
		key       ssh.PublicKey
		want      string // the ID, or ""
	}{
		{"Ada", "web", ada, "auth0|5f7c8ec7"},
		{"Ada, the other app", "records", ada, "auth0|5f7c8ec7"},
		{"Bob by his second key", "web", bob, "u-2"},
		{"a key without the app", "records", bob, ""},
		{"a key without apps", "web", eve, ""},
		{"an unknown app", "nothing", ada, ""},
		{"no app", "", ada, ""},
		{"an unknown key", "web", signer.PublicKey(), ""},
		{"a certificate for a known key", "web", &ssh.Certificate{Key: ada, SignatureKey: ada, Signature: &ssh.Signature{}}, ""},
	} {
		user, ok := c.Authorize(test.app, test.key)
		if ok != (test.want != "") || user.ID != test.want || !ok && user != (schema.User{}) {
			t.Errorf("%s: %+v, %v", test.name, user, ok)
		}
	}
	if user, _ := c.Authorize("web", bob); user != (schema.User{ID: "u-2", Name: "Боб", Email: "bob@example.com"}) {
		t.Errorf("Bob is %+v", user)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readKey(t *testing.T, path string) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey(mustRead(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestLookUp(t *testing.T) {
	setEnv(t)
	c := load(t, "testdata/good/full.yaml")
	if a, ok := c.App("records"); !ok || a != &c.Apps[1] {
		t.Error("the app records is not found")
	}
	if _, ok := c.App("none"); ok {
		t.Error("an app that is not there is found")
	}
	if s, ok := c.Stack("health"); !ok || s != &c.Stacks[1] {
		t.Error("the stack health is not found")
	}
	if _, ok := c.Stack(""); ok {
		t.Error("a stack without a name is found")
	}
}

func TestMatches(t *testing.T) {
	on := func(m Match) Drain { return Drain{DrainEphemeralSessions: true, Match: m} }
	one := []string{"one"}
	for name, test := range map[string]struct {
		drain      Drain
		stack, app string
		want       bool
	}{
		"all":             {on(Match{}), "x", "y", true},
		"switched off":    {Drain{}, "x", "y", false},
		"stack":           {on(Match{Stacks: one}), "one", "y", true},
		"another stack":   {on(Match{Stacks: one}), "two", "one", false},
		"app":             {on(Match{Apps: one}), "x", "one", true},
		"another app":     {on(Match{Apps: one}), "one", "two", false},
		"both":            {on(Match{Stacks: one, Apps: one}), "one", "one", true},
		"one of the both": {on(Match{Stacks: one, Apps: one}), "one", "two", false},
	} {
		if got := test.drain.Matches(test.stack, test.app); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if on(Match{}).CoversPHI() || !(Drain{Agreements: []string{"baa"}}).CoversPHI() {
		t.Error("CoversPHI does not follow the agreements")
	}
}

func TestNearest(t *testing.T) {
	for got, want := range map[string]string{
		"urll": "url", "ulr": "url", "URL": "url", "elastic": "elasticsearch", "data-stream": "data_stream",
		"x": "", "something else": "", "": "", strings.Repeat("u", 10_000): "",
	} {
		if name := nearest(got, []string{"url", "elasticsearch", "data_stream", "name"}); name != want {
			t.Errorf("nearest(%.20q) = %q, want %q", got, name, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	setEnv(f)
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		for _, path := range glob(f, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		c, err := parse("testdata/good/fuzz.yaml", data)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v and %v", c, err)
		}
		if err == nil {
			return
		}
		last := Mistake{}
		for _, m := range mistakesOf(t, err) {
			if m.Line < 1 || m.Column < 1 || m.File == "" || m.Message == "" {
				t.Errorf("a mistake without a place: %+v", m)
			}
			if m.Line < last.Line || m.Line == last.Line && m.Column < last.Column {
				t.Errorf("%v stands after %v", m, last)
			}
			last = m
		}
	})
}

// parse is [Load] for a file called name with this content.
func parse(name string, data []byte) (*Config, error) { return newDecoder(name).config(data) }
