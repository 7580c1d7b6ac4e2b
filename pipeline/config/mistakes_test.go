package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// Lines of a valid configuration, of which each case of commonMistakes replaces one.
const (
	storeLine    = "store: ./data"
	gatewayLine  = "gateway: {listen: 127.0.0.1:2222, host_key: ./host_key}"
	adminLine    = "admin: {listen: 127.0.0.1:9464}"
	documentLine = "user_document: {issuer: https://auth.example.com, signing_key: ./document_key.pem}"
	userLine     = "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"
	stackLine    = "  - {name: default, plan: growth}"
	appLine      = "  - {name: web, stack: default, runtime: sandbox, command: [/bin/bash]}"
	drainLine    = "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}"
)

const validConfig = storeLine + "\n" + gatewayLine + "\n" + adminLine + "\n" + documentLine + "\nusers:\n" + userLine + "\nstacks:\n" + stackLine +
	"\napps:\n" + appLine + "\ndrains:\n" + drainLine + "\n"

// whole is for cases that replace all of the configuration.
const whole = ""

// commonMistakes are mistakes that people make in the first configuration. Secrets have "hunter" in
// them.
var commonMistakes = []struct{ name, line, text string }{
	{"empty mapping", whole, "{}\n"},
	{"list for the whole", whole, "- store: x\n- users: x\n"},
	{"text for the whole", whole, "hello\n"},
	{"plain HTTP for other machines", adminLine, "admin: {listen: 0.0.0.0:9464, token: abc}"},
	{"alias without an anchor", storeLine, "store: *nope"},
	{"anchor of a mapping", adminLine, "admin: &a\n  listen: 127.0.0.1:1"},
	{"anchor of a mapping in braces", documentLine, "user_document: &doc {issuer: x}"},
	{"alias in the place of a mapping", documentLine, "user_document: *doc"},
	{"anchor without a name", documentLine, "user_document: &"},
	{"alias before a brace", documentLine, "user_document: *}"},
	{"API key for https", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, api_key: abc}"},
	{"value that begins with @", storeLine, "store: @data"},
	{"value in backticks", storeLine, "store: `data`"},
	{"bearer token for https", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, bearer: abc}"},
	{"brace is not closed", adminLine, "admin: {listen: 127.0.0.1:9464"},
	{"bracket is not closed", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web}"},
	{"one brace too many", adminLine, "admin: {listen: 127.0.0.1:9464}}"},
	{"brace closed by a bracket", adminLine, "admin: {listen: 127.0.0.1:9464]"},
	{"bracket is not opened", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: web]}"},
	{"last brace is not closed", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs"},
	{"two colons", storeLine, "store: a: b"},
	{"no space after the colon", storeLine, "store:./data"},
	{"no colon", storeLine, "store ./data"},
	{"no comma", stackLine, "  - {name: default plan: growth}"},
	{"control character", userLine, "  - {id: u-1, name: Ada L\x1bvelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
	{"two documents", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\n---\nstore: ./data"},
	{"two documents with lines between", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\n---\n\n# more\n\nstore: ./data"},
	{"text after the end", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\n...\nstore: x"},
	{"equals sign", storeLine, "store = ./data"},
	{"backslash in double quotes", storeLine, `store: "C:\data"`},
	{"field deeper than its neighbour", stackLine, "  - name: default\n     plan: growth\n    session_duration: 1h"},
	{"field between its neighbour and the dash", stackLine, "  - name: default\n   plan: growth"},
	{"items in different columns", stackLine, "  - name: default\n - name: x"},
	{"first line is indented", storeLine, " store: ./data"},
	{"second line is indented", gatewayLine, " gateway: {listen: 127.0.0.1:2222, host_key: ./host_key}"},
	{"nested field too deep", adminLine, "admin:\n  listen: 127.0.0.1:9464\n   token: x"},
	{"nested field not deep enough", adminLine, "admin:\n    listen: 127.0.0.1:9464\n  token: x"},
	{"nested field not indented", adminLine, "admin:\nlisten: 127.0.0.1:9464"},
	{"ISO 8859-1", userLine, "  - {id: u-1, name: Ada L\xf6velace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
	{"list for a mapping", gatewayLine, "gateway:\n  - listen: 127.0.0.1:2222"},
	{"list for a required mapping", documentLine, "user_document:\n  - issuer: x"},
	{"text after a bar", storeLine, "store: |x\n  a"},
	{"mapping for a list", stackLine, "  name: default\n  plan: growth"},
	{"merge of an alias", adminLine, "admin:\n  <<: *nope\n  listen: 127.0.0.1:1"},
	{"merge of a mapping", adminLine, "admin:\n  <<: {listen: 127.0.0.1:1}"},
	{"no-break space after the colon", storeLine, "store:\u00a0./data"},
	{"no-break spaces as indentation", stackLine, "\u00a0\u00a0- {name: default, plan: growth}"},
	{"no-break space in the indentation", stackLine, "  - name: default\n  \u00a0 plan: growth"},
	{"no-break space in braces", stackLine, "  - {name: default, plan:\u00a0growth}"},
	{"no-break space at the end", stackLine, "  - {name: default, plan: growth\u00a0}"},
	{"NUL", userLine, "  - {id: u-1, name: Ada L\x00velace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
	{"value that begins with %", storeLine, "store: %data"},
	{"private key file as ca_file", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, ca_file: ./ada}"},
	{"complex key", storeLine, "? store\n: data"},
	{"list as a key", storeLine, "? [a]\n: data"},
	{"double quote is not closed", storeLine, `store: "./data`},
	{"single quote is not closed", storeLine, "store: './data"},
	{"quote in braces is not closed", userLine, `  - {id: u-1, name: "Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}`},
	{"text after a quote", storeLine, `store: "a" b`},
	{"semicolon for a comma", stackLine, "  - {name: default; plan: growth}"},
	{"typographic quotes", stackLine, "  - {name: “default”, plan: growth}"},
	{"tab before an item", appLine, "\t- {name: web, stack: default, runtime: sandbox, command: [/bin/bash]}"},
	{"tab before a field", storeLine, "gateway2:\n\tlisten: 1"},
	{"tab and a space", stackLine, "  - name: default\n    plan: growth\n\t session_duration: 1h"},
	{"tag", documentLine, "user_document: !doc {issuer: x}"},
	{"standard tag", documentLine, "user_document: !!map {issuer: x}"},
	{"token for https", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, token: abc}"},
	{"variable without quotes", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1/${HOME}}"},
	{"user for https", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, user: abc}"},
	{"app cmd empty", appLine, "  - {name: web, stack: default, runtime: sandbox, command: []}"},
	{"app cmd str", appLine, "  - {name: web, stack: default, runtime: sandbox, command: /bin/bash -l}"},
	{"app env list", appLine, "  - {name: web, stack: default, runtime: sandbox, env: [A=b], command: [/bin/bash]}"},
	{"app env null", appLine, "  - {name: web, stack: default, runtime: sandbox, env: {A: }, command: [/bin/bash]}"},
	{"app memory", appLine, "  - {name: web, stack: default, runtime: sandbox, memory: 1024, command: [/bin/bash]}"},
	{"app nostack", appLine, "  - {name: web, runtime: sandbox, command: [/bin/bash]}"},
	{"app runtime", appLine, "  - {name: web, stack: default, runtime: dcoker, command: [/bin/bash]}"},
	{"app space", appLine, "  - {name: my web, stack: default, runtime: sandbox, command: [/bin/bash]}"},
	{"app upper", appLine, "  - {name: Web, stack: default, runtime: sandbox, command: [/bin/bash]}"},
	{"console oidc", adminLine, "admin: {listen: 127.0.0.1:9464, console: {oidc: {issuer: https://id.example.com}}}"},
	{"drain batch", drainLine, "  - {name: a, type: https, url: https://x.example.com/, batch: {size: 100}}"},
	{"drain ca key", drainLine, "  - {name: a, type: https, url: https://x.example.com/, ca_file: ./ada}"},
	{"drain casing", drainLine, "  - {Name: a, Type: https, URL: https://x.example.com/}"},
	{"drain cert", drainLine, "  - {name: a, type: https, url: https://x.example.com/, cert: ./c.pem, key: ./k.pem}"},
	{"drain gzip", drainLine, "  - {name: a, type: https, url: https://x.example.com/, compression: true}"},
	{"drain header bearer", drainLine, "  - name: a\n    type: https\n    url: https://x.example.com/\n    headers:\n      Authorization: Bearer: hunter2"},
	{"drain header nospace", drainLine, "  - name: a\n    type: https\n    url: https://x.example.com/\n    headers:\n      Authorization:hunter2"},
	{"drain header str", drainLine, `  - {name: a, type: https, url: https://x.example.com/, headers: "Authorization: hunter2"}`},
	{"drain headers list", drainLine, "  - {name: a, type: https, url: https://x.example.com/, headers: [Authorization: x]}"},
	{"drain host", drainLine, "  - {name: a, type: syslog, host: logs.example.com, port: 6514}"},
	{"drain http", drainLine, "  - {name: a, type: http, url: http://x.example.com/}"},
	{"drain index", drainLine, "  - {name: a, type: elasticsearch, urls: [https://es.example.com:9200], index: logs}"},
	{"drain insecure", drainLine, "  - {name: a, type: https, url: https://x.example.com/, insecure_skip_verify: true}"},
	{"drain map", drainLine, "  a: {type: https, url: https://x.example.com/}"},
	{"drain match", drainLine, "  - {name: a, type: https, url: https://x.example.com/, match: {app: web}}"},
	{"drain match2", drainLine, "  - {name: a, type: https, url: https://x.example.com/, match: web}"},
	{"drain noname", drainLine, "  - {type: https, url: https://x.example.com/}"},
	{"drain notype", drainLine, "  - {name: a, url: https://x.example.com/}"},
	{"drain one", drainLine, "  name: a\n  type: https\n  url: https://x.example.com/"},
	{"drain phi", stackLine, "  - {name: default, plan: growth, phi: yes}"},
	{"drain port only", drainLine, "  - {name: a, type: syslog, address: 6514}"},
	{"drain str", drainLine, "  - https://x.example.com/"},
	{"drain timeout", drainLine, "  - {name: a, type: https, url: https://x.example.com/, timeout: 30}"},
	{"drain tls", drainLine, `  - {name: a, type: syslog, address: "logs.example.com:6514", tls: true}`},
	{"drain two urls", drainLine, "  - name: a\n    type: https\n    url: https://x.example.com/\n    url: https://y.example.com/"},
	{"drain udp", drainLine, "  - {name: a, type: syslog, address: udp://logs.example.com:514}"},
	{"drain url es", drainLine, "  - {name: a, type: elasticsearch, url: https://es.example.com:9200}"},
	{"drain urls str", drainLine, "  - {name: a, type: elasticsearch, urls: https://es.example.com:9200}"},
	{"drain user es", drainLine, `  - {name: a, type: elasticsearch, urls: ["https://u:hunter2@es.example.com:9200"]}`},
	{"dur days", stackLine, "  - {name: default, plan: growth, session_duration: 7d}"},
	{"dur plain", stackLine, "  - {name: default, plan: growth, session_duration: 168}"},
	{"float", stackLine, "  - {name: default, plan: growth, sessions: 1.5}"},
	{"hostkey dir", gatewayLine, "gateway: {listen: 127.0.0.1:2222, host_key: /tmp}"},
	{"include", storeLine, "include: other.yaml\nstore: ./data"},
	{"issuer missing", documentLine, "user_document: {signing_key: ./document_key.pem}"},
	{"log str", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\nlog: debug"},
	{"nats and store", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\nnats: {url: nats://localhost}"},
	{"plan", stackLine, "  - {name: default, plan: Growth}"},
	{"port big", gatewayLine, "gateway: {listen: 127.0.0.1:22222222, host_key: ./host_key}"},
	{"port num", gatewayLine, "gateway: {listen: 2222, host_key: ./host_key}"},
	{"retention", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\nstreams: {retention: 1h}"},
	{"same port", adminLine, "admin: {listen: 127.0.0.1:2222}"},
	{"store env", storeLine, `store: "${HOME}/data"`},
	{"store file", storeLine, "store: ./ada.pub"},
	{"store tilde", storeLine, "store: ~/data"},
	{"tls half", adminLine, "admin: {listen: 127.0.0.1:9464, tls: {cert_file: ./c.pem}}"},
	{"tls true", adminLine, "admin: {listen: 127.0.0.1:9464, tls: true}"},
	{"token env", adminLine, `admin: {listen: 127.0.0.1:9464, token: "${NOPE}"}`},
	{"token file", adminLine, `admin: {listen: 127.0.0.1:9464, token: "file:nope"}`},
	{"unknown root", drainLine, "  - {name: siem, type: https, url: https://127.0.0.1:8443/logs}\nlogging: {level: debug}"},
	{"user apps star", userLine, `  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: "*"}`},
	{"user apps star2", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [*]}"},
	{"user email", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada, authorized_keys: [./ada.pub], apps: [web]}"},
	{"user key priv", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada], apps: [web]}"},
	{"user keys name", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, ssh_keys: [./ada.pub], apps: [web]}"},
	{"user keys str", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: ./ada.pub, apps: [web]}"},
	{"user noid", userLine, "  - {name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
	{"user same", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}\n  - {id: u-1, name: Bob, email: bob@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
	{"private key as an authorized key", userLine, `  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: ["-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"], apps: [web]}`},
	{"private key in lines", userLine, "  - id: u-1\n    name: Ada\n    email: ada@example.com\n    apps: [web]\n    authorized_keys:\n      - |\n        -----BEGIN OPENSSH PRIVATE KEY-----\n        hunterAAAA\n        -----END OPENSSH PRIVATE KEY-----"},
	{"part of a private key", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [hunterAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW], apps: [web]}"},
	{"private key for a list of keys", userLine, `  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----", apps: [web]}`},
	{"private key as host key", gatewayLine, `gateway: {listen: 127.0.0.1:2222, host_key: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"}`},
	{"private key as signing key", documentLine, `user_document: {issuer: https://auth.example.com, signing_key: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"}`},
	{"private key as a folder", storeLine, `store: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"`},
	{"private key as ca_file", drainLine, `  - {name: siem, type: https, url: https://127.0.0.1:8443/logs, ca_file: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"}`},
	{"private key as an ID", userLine, `  - {id: "-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----", name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}`},
	{"private key as an app", userLine, `  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: ["-----BEGIN OPENSSH PRIVATE KEY----- hunterAAAA -----END OPENSSH PRIVATE KEY-----"]}`},
	{"part of a private key as an app", userLine, "  - {id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [./ada.pub], apps: [hunterAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW]}"},
	{"typographic quotes in a name", userLine, "  - {id: u-1, name: “Ada”, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}"},
}

// TestCommonMistakes compares the messages for each mistake with testdata/common_mistakes.txt: one
// message for one mistake, at the place where it is, and without a secret.
func TestCommonMistakes(t *testing.T) {
	const golden = "testdata/common_mistakes.txt"
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ada.pub", mustRead(t, "testdata/keys/ada.pub"))
	write("ada", mustRead(t, "testdata/keys/client.key"))
	var b strings.Builder
	seen := make(map[string]bool)
	check := func(name string, data []byte) {
		if seen[name] {
			t.Errorf("two cases are called %q", name)
		}
		seen[name] = true
		write("ttydrain.yaml", data)
		c, err := Load(filepath.Join(dir, "ttydrain.yaml"))
		if err == nil {
			t.Errorf("%s: no mistake in %+v", name, c)
			return
		}
		b.WriteString("# " + name + "\n")
		b.WriteString(strings.ReplaceAll(mistakesOf(t, err).Error(), dir+"/", "") + "\n")
	}
	for _, m := range commonMistakes {
		text := m.text
		if m.line != whole {
			if strings.Count(validConfig, m.line) != 1 {
				t.Fatalf("%s: the configuration does not have %q once", m.name, m.line)
			}
			text = strings.Replace(validConfig, m.line, m.text, 1)
		}
		check(m.name, []byte(text))
	}
	big, little := []byte("\xfe\xff"), []byte(nil)
	for _, unit := range utf16.Encode([]rune(validConfig)) {
		big, little = binary.BigEndian.AppendUint16(big, unit), binary.LittleEndian.AppendUint16(little, unit)
	}
	check("UTF-16 with a byte order mark", big)
	check("UTF-16 without a byte order mark", little)
	write("ttydrain.yaml", []byte(validConfig))
	load(t, filepath.Join(dir, "ttydrain.yaml"))

	got := b.String()
	if strings.Contains(got, "hunter") {
		t.Errorf("a message quotes a secret:\n%s", got)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(mustRead(t, golden)); got != want {
		wanted := strings.Split(want, "\n")
		for i, line := range strings.Split(got, "\n") {
			if i >= len(wanted) || line != wanted[i] {
				t.Fatalf("line %d of the messages is\n%s\nand that of %s differs: look at it, and update it with -update", i+1, line, golden)
			}
		}
		t.Fatalf("%s has more lines", golden)
	}
}
