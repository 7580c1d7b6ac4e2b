package setup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"text/template"
)

// configTemplate returns the template of the configuration.
func configTemplate() *template.Template {
	return template.Must(template.New(configFile).Funcs(template.FuncMap{"quote": quote}).Parse(`# The configuration of ttydrain. Paths are relative to this file.
#
#   ttydrain check            reports every mistake in it
#   ttydrain schema config    prints its JSON Schema, for editors
#
# serve applies changes within two seconds; if there is a mistake, nothing changes and the log has
# the reason.

# The folder of the embedded NATS server's files. What users see is written here before they see it.
store: ./data

# How long records are kept: a drain that is down for longer misses records, and receives a gap
# record instead. Without max_bytes, the disk is the limit.
streams: {retention: 336h}

# The SSH server. Users log in as the app: ssh APP@HOST. For other machines, listen on 0.0.0.0:2222.
gateway: {listen: {{quote .Gateway}}, host_key: ./host_key}

# The console (/console/), metrics (/metrics) and health checks (/readyz). It requires tls beyond
# this machine.
admin: {listen: {{quote .Admin}}}

# The signed document that identifies the user in each record, and the key that signs it and the
# ends of sessions. Keep the key: audits verify signatures with it.
user_document: {issuer: https://ttydrain.example.com, signing_key: ./document_key.pem}

# Who may open which apps. Keys are files, or the public keys themselves.
users:
  - id: u-1
    name: {{quote .User.Name}}
    email: {{quote .User.Address}}
    authorized_keys: [./authorized_keys]
    apps: [{{quote .App}}]

# Groups of apps with the same limits: plan has the number of concurrent sessions, and
# session_duration the longest time of one.
stacks:
  - {name: default, plan: growth, session_duration: 168h}

# What sessions run. The runtime is sandbox (a container of this host's files) or docker.
apps:
  - name: {{quote .App}}
    stack: default
    runtime: sandbox
    command: [{{.Shell}}]
    env: {LANG: C.UTF-8}

# Where records are delivered: https, elasticsearch, syslog, file, or a provider's preset. This drain
# is the local receiver: ttydrain receive.
drains:
  - name: local
    type: https
    url: {{quote .URL}}
    ca_file: ./receiver/ca.pem
    format: ndjson
  # - {name: search, type: elasticsearch, urls: [https://es.example.com:9200], data_stream: logs-ssh-default, api_key: "${ES_API_KEY}"}
  # - {name: siem, type: syslog, address: "siem.example.com:6514", ca_file: ./siem-ca.pem}
`))
}

// quote returns a text as a YAML string in double quotes, of which JSON's strings are a part.
func quote(text string) (string, error) {
	data, err := json.Marshal(text)
	return string(data), err
}

// configText returns the content of the configuration.
func configText(o Options) ([]byte, error) {
	shell := "/bin/bash"
	if _, err := os.Stat(shell); err != nil {
		shell = "/bin/sh"
	}
	var text bytes.Buffer
	if err := configTemplate().Execute(&text, struct {
		Options
		Shell, URL string
	}{o, shell, "https://" + hostPort(o.Receiver) + "/logs"}); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	return text.Bytes(), nil
}
