package setup

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"text/template"
)

// A ClientConfig is the configuration of OpenSSH's client for one app of a gateway: `ssh -F FILE
// APP` opens a session with it.
type ClientConfig struct {
	App     string
	Address string // of the gateway: HOST:PORT
	// Identity is the path of the user's private key; "" if the client finds one itself.
	Identity string
	// KnownHosts is the path of the file with the gateway's key. With AcceptNew, the client adds the
	// key at the first login.
	KnownHosts string
	AcceptNew  bool
}

var clientConfig = template.Must(template.New("ssh_config").Funcs(template.FuncMap{"quote": sshQuote}).Parse(
	`# For OpenSSH's client: ssh -F ssh_config {{.App}}
Host {{.App}}
  HostName {{.Host}}
  Port {{.Port}}
  User {{.App}}
{{- with .Identity}}
  IdentityFile {{quote .}}
  IdentitiesOnly yes
{{- end}}
  UserKnownHostsFile {{quote .KnownHosts}}
  StrictHostKeyChecking {{if .AcceptNew}}accept-new{{else}}yes{{end}}
`))

// Text returns the content of the file.
func (c ClientConfig) Text() ([]byte, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("the address of the gateway: %w", err)
	}
	var text bytes.Buffer
	err = clientConfig.Execute(&text, struct {
		ClientConfig
		Host, Port string
	}{c, host, port})
	return text.Bytes(), err
}

// sshQuote returns a path as one word for OpenSSH's client, which divides the value at spaces and
// replaces tokens such as %h.
func sshQuote(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	if strings.ContainsAny(path, " \t\"\\#") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
	}
	return path
}
