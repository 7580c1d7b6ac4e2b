package config

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An explanation is the entry of a code in the reference of error messages, with a configuration
// that has the mistake.
type explanation struct {
	code  Code
	title string
	// about is what the code means, and what to do.
	about string
	// example is the part of a configuration with the mistake, in its first lines.
	example string
	// modes are the permissions of files.
	modes map[string]os.FileMode
	// message is an example of a message that Load does not produce.
	message string
}

// explanations has an entry for every code, in order.
var explanations = []explanation{
	{code: codeEncoding, title: "Not text in UTF-8", example: "store: ./data\x1b\n",
		about: "The file has bytes that are not UTF-8, or control characters. Editors for Windows may save UTF-16 or ISO-8859-1. Save the file as UTF-8, or convert it with `iconv`; write a control character that you need as an escape in double quotes, such as `\"\\u001b\"`."},
	{code: codeTab, title: "A tab in the indentation", example: "gateway:\n\tlisten: 127.0.0.1:2222\n",
		about: "YAML is indented with spaces. Replace the tab by spaces, and set the editor to do so."},
	{code: codeIndentation, title: "Wrong indentation", example: "gateway:\n  listen: 127.0.0.1:2222\n   stop_timeout: 10s\n",
		about: "Fields of one mapping, and items of one list, begin in the same column. The message names the line and the columns that would fit."},
	{code: codeBracket, title: "A bracket or a comma is missing", example: "gateway: {listen: 127.0.0.1:2222\n",
		about: "A `{` or `[` is never closed, is closed by the other kind, or a comma is missing between its values. The place is where the bracket or the value begins."},
	{code: codeQuote, title: "Quotes", example: "store: \"./data\n",
		about: "A quoted text has no end, has something after it, or has a backslash that begins no escape. Texts that begin with `@`, `` ` `` or `%`, or have `: ` or ` #` in them, need quotes. In single quotes only `'` is special, and is written twice."},
	{code: codeColon, title: "Not KEY: VALUE", example: "store ./data\n",
		about: "Each line has a name, a colon, a space and a value. A value with `: ` in it needs quotes."},
	{code: codeSpace, title: "A special space or quote", example: "store:\u00a0./data\n",
		about: "Texts copied from web pages or word processors have no-break spaces and typographic quotes. YAML takes them for letters. Replace them by those of the keyboard."},
	{code: codeAnchor, title: "Anchors, aliases, merge keys and tags", example: "store: &folder ./data\n",
		about: "ttydrain reads plain YAML: each value is written out. A value that begins with `&`, `*` or `!` needs quotes."},
	{code: codeDocuments, title: "More than one document", example: "---\nstore: ./data\n---\nstore: ./data\n",
		about: "A configuration is one YAML document. Remove the line `---`, or move what follows to a file of its own."},
	{code: codeEmpty, title: "An empty file", example: "# nothing\n",
		about: "The file has no settings. `ttydrain init` writes a configuration to begin with."},
	{code: codeSyntax, title: "Not YAML", example: "store: |data\n  x\n",
		about: "The text cannot be read as YAML from this place on. Compare the line, and the one before, with the examples of these pages."},

	{code: codeUnknown, title: "An unknown field", example: "gatway: {listen: 127.0.0.1:2222}\n",
		about: "No field has this name here. It may be misspelt, or be below the wrong one: the [reference](configuration-reference.md) has all."},
	{code: codeOtherType, title: "A field of another type of drain", example: "drains:\n  - {name: siem, type: https, url: https://logs.example.com/, token: abc}\n",
		about: "The field exists, but not for drains of this type. The pages of the [types](drains.md) have what each takes. A token for HTTPS is a header."},
	{code: codeMissing, title: "A required field is missing", example: "user_document: {}\n", about: "Add the field. The message has what is expected."},
	{code: codeTwice, title: "A field occurs twice", example: "store: ./data\nstore: ./other\n", about: "Remove one of them: it would be unclear which applies."},
	{code: codeKind, title: "A value of another kind", example: "gateway: [127.0.0.1:2222]\n",
		about: "A list is where a mapping is expected, a text where a number is, and so on. A list has items with dashes or `[…]`, a mapping has fields or `{…}`. A text that looks like a number needs quotes."},
	{code: codeNoValue, title: "No value", example: "store:\n", about: "Give the field a value, or leave it out for its default. An empty list would match nothing, and is refused."},
	{code: codeWord, title: "An unknown word", example: "log: {level: verbose}\n", about: "The field takes one of a few words, which the message lists."},
	{code: codeNumber, title: "Not a number, a size or a duration", example: "gateway: {stop_timeout: 10}\n",
		about: "Durations have a unit, such as `30s`, `5m` or `168h`; sizes may have one, such as `64KB` or `1GiB`."},
	{code: codeRange, title: "Too small or too large", example: "stacks:\n  - {name: default, session_duration: 169h}\n", about: "The value is outside of the bounds, which are in the message, or does not fit another setting."},
	{code: codeForm, title: "A text of another form", example: "stacks:\n  - {name: my stack}\n",
		about: "The text has characters that are not possible there, or is no name, e-mail address, URI or path. The message has the form that is expected."},
	{code: codeKey, title: "A name that is not possible", example: "apps:\n  - {name: web, stack: default, env: {APTIBLE_USER_DOCUMENT: x}}\n",
		about: "The name of a field, a header or an environment variable is not valid, or ttydrain sets it itself."},
	{code: codeExclusive, title: "Settings that exclude each other", example: "nats: {url: nats://nats.example.com}\nstore: ./data\n", about: "Keep one of them."},
	{code: codePair, title: "Settings that belong together", example: "drains:\n  - {name: siem, type: https, url: https://logs.example.com/, username: ada}\n", about: "Set both, or neither."},
	{code: codeElsewhere, title: "A setting that has no effect here", example: "apps:\n  - {name: web, stack: default, image: web}\n",
		about: "The setting is for other values of another one, which the message names. Leave it out, or change that one."},
	{code: codeReference, title: "A name that does not exist", example: "apps:\n  - {name: web, stack: defualt}\n", about: "A stack, an app or a drain of this name is not configured. The message has those that are."},
	{code: codeDuplicate, title: "A name or a key that is taken", example: "stacks:\n  - {name: default}\n  - {name: default}\n", about: "Names are unique in their list, and a key identifies one user."},
	{code: codeAddress, title: "Not an address", example: "gateway: {listen: 127.0.0.1}\n", about: "Addresses are `HOST:PORT`; an IPv6 address is in brackets: `[::1]:2222`."},
	{code: codeURL, title: "Not a valid URL", example: "drains:\n  - {name: siem, type: https, url: logs.example.com}\n", about: "The URL lacks a part, or has one that cannot be used. URLs of drains are secrets, so the message does not have it."},
	{code: codeRefused, title: "Refused by the part that uses it", about: "The part of ttydrain that the setting is for does not accept it, although its form is valid. The message has the reason.",
		message: "ttydrain.yaml:11:5: drains[0].data_stream: belongs to Elasticsearch itself; expected another name [E219]"},

	{code: codeVariable, title: "An environment variable", example: "admin: {token: \"${ADMIN_TOKEN}\"}\n",
		about: "`${NAME}` is replaced in [secrets](configuration.md#secrets) and in the environment of apps, by variables of ttydrain's own environment. Set the variable where ttydrain is started (`Environment=` or `EnvironmentFile=` of systemd). Elsewhere write the value itself, and `$${` for the characters `${`."},
	{code: codeFile, title: "A file that cannot be read", example: "drains:\n  - {name: siem, type: https, url: https://logs.example.com/, ca_file: ./ca.pem}\n",
		about: "The file or folder does not exist, is of another kind, or may not be read by the user that ttydrain runs as. Relative paths start at the folder of the configuration."},
	{code: codeOpenFile, title: "A file that others can read or change", example: "user_document: {issuer: https://auth.example.com, signing_key: ./document.key}\n",
		modes: map[string]os.FileMode{"document.key": 0o666},
		about: "Secrets and keys are accessible to their owner alone, and nobody else may change the configuration, certificates, or keys of users: `chmod 600`, or `chmod go-w`. See [file permissions](configuration.md#file-permissions) for what Kubernetes and Docker mount."},
	{code: codePasted, title: "A key instead of a file", example: "users:\n  - id: u-1\n    name: Ada\n    email: ada@example.com\n    apps: [web]\n    authorized_keys:\n      - \"-----BEGIN OPENSSH PRIVATE KEY-----\"\n",
		about: "A private key, or the content of a certificate's file, is where a path or a public key is expected. It is not shown. A private key that was in a file that others have read is no longer secret: make a new one."},
	{code: codePublicKey, title: "No valid public key", example: "users:\n  - {id: u-1, name: Ada, email: ada@example.com, authorized_keys: [./client.crt], apps: [web]}\n",
		about: "The file or the text has no public key of a kind that is accepted. `ssh-keygen -t ed25519` makes one, with the name `.pub`."},
	{code: codePrivateKey, title: "No valid private key", example: "user_document: {issuer: https://auth.example.com, signing_key: ./ada.pub}\n",
		about: "The file has no private key, or one of a kind that is not accepted, or one with a passphrase. Keys of the gateway and of user documents are created if the file is missing."},
	{code: codeCertificate, title: "No valid certificate", example: "drains:\n  - {name: siem, type: https, url: https://logs.example.com/, ca_file: ./ada.pub}\n",
		about: "The file has no certificate in PEM (`-----BEGIN CERTIFICATE-----`), or the key is not that of the certificate."},

	{code: codePlain, title: "Not encrypted", example: "drains:\n  - {name: siem, type: https, url: http://logs.example.com/}\n",
		about: "Session content or credentials would cross the network unencrypted. Use TLS; plain HTTP is accepted to this machine alone."},
	{code: codeAgreement, title: "PHI without the agreement", example: "stacks:\n  - {name: default, phi: true}\ndrains:\n  - {name: siem, type: https, url: https://logs.example.com/}\n",
		about: "Logs of a stack with `phi: true` go only to drains with `agreements: [baa]`: see [PHI](security.md)."},
	{code: codeEveryone, title: "Everyone may log in", example: "admin: {console: {url: https://console.example.com, oidc: {issuer: https://id.example.com, client_id: x, client_secret: y}}}\n",
		about: "A provider has users who should not see sessions. Name those who may: `allowed_emails` or `allowed_groups`."},
	{code: codeAdminOpen, title: "The admin server without TLS", example: "admin: {listen: \"0.0.0.0:9464\"}\n",
		about: "Other machines reach the admin server, and the admin token and the output of sessions would cross the network in plain text. Set `tls: {cert_file, key_file}`, or listen on `127.0.0.1`. Behind a proxy that adds TLS, or on a network of its own, `tls: none` permits plain HTTP, with this code as a warning."},

	{code: codeWeakToken, title: "A token that can be guessed", example: "admin: {token: secret}\n",
		about: "The admin token is short, or has few different characters. Use a random one: `openssl rand -hex 32`."},
	{code: codeProgram, title: "A program that is missing", example: "apps:\n  - {name: web, stack: default, command: [/bin/zshx]}\n",
		about: "This machine does not have the program of an app, or it is not executable. Sessions of the app would fail here. It is a warning, since `check` may run on another machine than the gateway."},
	{code: CodeProxy, title: "A proxy that cannot be used", about: "`HTTPS_PROXY` or `HTTP_PROXY` of the environment is not the address of a proxy. See [proxies](drains.md).",
		message: "WARNING: HTTPS_PROXY in this environment is not the address of a proxy: drains with https addresses are reached without one, or not at all; expected http://HOST:PORT [W503]"},
	{code: CodeConsumers, title: "Too few consumers on the NATS cluster", about: "Each drain needs consumers on the stream LOGS, and the NATS servers allow fewer. See [the cluster](cluster.md).",
		message: "WARNING: the NATS cluster allows 8 consumers on LOGS: some drains would be unread; raise max_consumers of the stream or the account to 16 [W504]"},

	{code: CodeSettings, title: "Connecting: the settings", about: "The drain could not be opened with its settings, or with the files that they name.",
		message: "problem: ca_file /etc/ttydrain/ca.pem does not exist: create it, or correct the path [E601]"},
	{code: CodeDNS, title: "Connecting: the host name", about: "The host name of the drain, or of the proxy, is not found. Correct the name, or ask the name server: `getent hosts NAME` on this machine.",
		message: "problem: reach logs.example.com:443: the host name is not known [E602]"},
	{code: CodeTCP, title: "Connecting: TCP", about: "Nothing answers at the address and port. Start the receiver, correct the port, or open the firewall between them.",
		message: "problem: reach 192.0.2.7:6514: nothing listens there [E603]"},
	{code: CodeViaProxy, title: "Connecting: the proxy", about: "The proxy does not forward to the drain. The proxy's own log has the reason. See [drains](drains.md) for `proxy`, and for the environment that applies without it.",
		message: "problem: reach logs.example.com:443: the proxy demands a user and a password [E604]"},
	{code: CodeTLS, title: "Connecting: TLS", about: "The certificates do not fit, have expired, or are about to. The lines above have those of the drain and when they end; `openssl s_client -connect HOST:PORT -showcerts` shows them too. `ca_file` holds the authority that signed the last one.",
		message: "problem: connect to logs.example.com:6514: ca_file holds CN=staging, and the drain's certificate chain ends at CN=production [E605]"},
	{code: CodeAuthentication, title: "Connecting: authentication", about: "The drain does not accept the credentials, or demands some. Compare `headers`, `username`, `api_key` or the client certificate with what the receiver expects.",
		message: "problem: reach logs.example.com:443: the drain answered 401 Unauthorized [E606]"},
	{code: CodeAcceptance, title: "Connecting: acceptance", about: "The drain is reached, and does not accept a record. Its answer has the reason.",
		message: "problem: send to logs.example.com: the drain answered 404 Not Found [E607]"},
	{code: CodeOwnStep, title: "Connecting: a step of this type of drain", about: "A check that only this type of drain has failed, such as the folder of a file drain or the mapping of a data stream. The step's lines have what to do.",
		message: "problem: the field operation_id is mapped as text [E608]"},
	{code: CodeDocker, title: "The Docker daemon", about: "The daemon does not answer, or lacks the image or container of an app. See [the docker runtime](docker.md).",
		message: "docker: FAILED: nothing listens at unix:///var/run/docker.sock: start the Docker daemon [E609]"},
}

// restOfExample are the fields that an example leaves out.
var restOfExample = []string{
	"user_document: {issuer: \"https://auth.example.com\"}",
	"users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [./ada.pub], apps: [web]}]",
	"stacks: [{name: default}]",
	"apps: [{name: web, stack: default}]",
}

// messageOf returns the message with the code that Load has for the example.
func (e *explanation) messageOf(t *testing.T) string {
	t.Helper()
	if e.message != "" {
		return e.message
	}
	text := e.example
	if e.code != codeEmpty && e.code != codeDocuments {
		for _, line := range restOfExample {
			if key, _, _ := strings.Cut(line, ":"); !strings.HasPrefix(text, key+":") && !strings.Contains(text, "\n"+key+":") {
				text += line + "\n"
			}
		}
	}
	if err := os.WriteFile("ttydrain.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range e.modes {
		if err := os.Chmod(name, e.modes[name]); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load("ttydrain.yaml")
	var found Mistakes
	if !errors.As(err, &found) {
		found = slices.Concat(c.Warnings(), c.ProgramWarnings())
	}
	if len(found) != 1 || found[0].Code != e.code {
		t.Errorf("%s: the example has these mistakes: %v", e.code, found)
		return ""
	}
	if found[0].Code[0] == 'W' {
		return "WARNING: " + found[0].Error()
	}
	return found[0].Error()
}

// TestErrorReference checks that the reference of error messages has an entry for every code,
// with a configuration that produces it. Update it with go test ./pipeline/config -run
// Reference -update.
func TestErrorReference(t *testing.T) {
	page, err := filepath.Abs("../../cmd/ttydrain/docs/errors-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	for _, e := range explanations {
		codes = append(codes, e.code)
	}
	if declared := declaredCodes(t); !slices.Equal(codes, declared) {
		t.Errorf("explained are %v, and declared %v", codes, declared)
	}
	keys := make(map[string][]byte)
	for name, from := range map[string]string{"ada.pub": "ada.pub", "client.crt": "client.crt", "document.key": "document_ed25519.key"} {
		keys[name] = mustRead(t, "testdata/keys/"+from)
	}
	t.Chdir(t.TempDir())
	for name, data := range keys {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	b.WriteString(errorsHead)
	chapter := byte(0)
	for i := range explanations {
		e := &explanations[i]
		if e.code[1] != chapter {
			chapter = e.code[1]
			fmt.Fprintf(&b, "\n## %s\n", chapters[chapter])
		}
		fmt.Fprintf(&b, "\n### %s: %s\n\n%s\n", e.code, e.title, wrap(e.about))
		if e.example != "" {
			fmt.Fprintf(&b, "\n```text\n%s```\n", printableExample(e.example))
		}
		fmt.Fprintf(&b, "\n```text\n%s\n```\n", e.messageOf(t))
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if written := mustRead(t, page); string(written) != b.String() {
		t.Errorf("%s differs from the codes: update it with -update", page)
	}
}

const errorsHead = `# Error messages

<!-- generated: go test ./pipeline/config -run Reference -update -->

Each mistake that ` + "`ttydrain check`" + ` reports ends with a code in brackets, and so does each warning. ` + "`ttydrain docs CODE`" + `
shows the entry. The codes are stable; the words of the messages are not. A message has the file, the line, the column
and the setting, then what is wrong, what is expected and, after a typing error, the nearest valid name.
`

var chapters = map[byte]string{
	'1': "The text of the file", '2': "Settings", '3': "Secrets, files and keys", '4': "Settings that are not safe", '5': "Warnings", '6': "Connecting to drains: check --connect, and drains test",
}

// printableExample returns an example with its invisible characters marked.
func printableExample(text string) string {
	return strings.NewReplacer("\t", "→", "\u00a0", "␣", "\x1b", "␛").Replace(text)
}

// wrap breaks a paragraph into lines of at most 120 characters.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case column == 0:
		case column+1+n > 118:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// declaredCodes returns the constants of code.go, in order.
func declaredCodes(t *testing.T) []Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, value := range spec.Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes = append(codes, Code(text))
			}
		}
		return true
	})
	slices.SortFunc(codes, func(a, b Code) int { return cmp.Compare(a[1:], b[1:]) })
	return codes
}
