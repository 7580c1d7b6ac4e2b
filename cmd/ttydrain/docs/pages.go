package docs

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
)

//go:embed *.md
var files embed.FS

// A Page is one topic of the documentation.
type Page struct {
	// Topic is the name of the page's file without its extension.
	Topic string
	// Group is the heading under which lists of pages have it.
	Group string
	// Summary is a line for lists of pages.
	Summary string
	// Aliases are other names that the page is found by.
	Aliases []string
}

// The groups of pages, in their order.
const (
	start     = "Start"
	sessions  = "Sessions"
	drains    = "Drains"
	operation = "Operation"
	evidence  = "Evidence"
	reference = "Reference"
)

// Pages returns all pages, in the order in which a newcomer reads them.
func Pages() []Page {
	return []Page{
		{Topic: "quickstart", Group: start, Summary: "Record a first session in five minutes", Aliases: []string{"start", "demo"}},
		{Topic: "install", Group: start, Summary: "Packages, building, images; verification, upgrade, removal", Aliases: []string{"installation", "packages", "systemd", "uninstall"}},
		{Topic: "concepts", Group: start, Summary: "How a session becomes records, what ttydrain guarantees, and its limits", Aliases: []string{"guarantees", "bounds"}},
		{Topic: "configuration", Group: start, Summary: "The configuration file: secrets, permissions, reloading", Aliases: []string{"config", "reload", "secrets"}},
		{Topic: "identity", Group: sessions, Summary: "Users: keys, certificates, access tokens, user documents", Aliases: []string{"users", "certificates", "tokens"}},
		{Topic: "sessions", Group: sessions, Summary: "Sessions: life cycle, limits, files and input, SSH settings", Aliases: []string{"ssh", "gateway", "limits"}},
		{Topic: "sandbox", Group: sessions, Summary: "The sandbox runtime: sessions as isolated processes", Aliases: []string{"runtimes"}},
		{Topic: "docker", Group: sessions, Summary: "The docker runtime: sessions as containers"},
		{Topic: "records", Group: drains, Summary: "What a drain receives: fields, searchable text, events", Aliases: []string{"fields", "text"}},
		{Topic: "drains", Group: drains, Summary: "Settings, states and failures that all drains share", Aliases: []string{"deadletters", "gaps", "proxy"}},
		{Topic: "https", Group: drains, Summary: "HTTPS drains: settings, Vector, your own receiver", Aliases: []string{"vector"}},
		{Topic: "elasticsearch", Group: drains, Summary: "Elasticsearch, OpenSearch, Kibana and Grafana: settings and set-up", Aliases: []string{"opensearch", "kibana", "grafana", "dashboards"}},
		{Topic: "syslog", Group: drains, Summary: "Syslog drains over TLS or RELP: rsyslog, syslog-ng, Loki", Aliases: []string{"relp", "rsyslog", "syslog-ng", "loki"}},
		{Topic: "file", Group: drains, Summary: "File drains, and archives of them"},
		{Topic: "hosted", Group: drains, Summary: "Datadog, Sumo Logic, Mezmo, Papertrail, SolarWinds", Aliases: []string{"datadog", "sumologic", "logdna", "mezmo", "papertrail", "solarwinds"}},
		{Topic: "cluster", Group: operation, Summary: "Running the roles on a NATS cluster", Aliases: []string{"nats"}},
		{Topic: "compose", Group: operation, Summary: "A whole cluster with Docker Compose"},
		{Topic: "kubernetes", Group: operation, Summary: "A whole cluster on Kubernetes", Aliases: []string{"k8s"}},
		{Topic: "operate", Group: operation, Summary: "Daily tasks, backup and restore, upgrade, retention, full disk", Aliases: []string{"operations", "disk", "memory", "backup", "upgrade", "retention"}},
		{Topic: "console", Group: operation, Summary: "The admin server and its web console", Aliases: []string{"admin"}},
		{Topic: "observe", Group: operation, Summary: "Health, logs, metrics, alerts, traces", Aliases: []string{"metrics", "alerts", "logs", "traces", "health"}},
		{Topic: "troubleshooting", Group: operation, Summary: "Symptoms, causes and remedies", Aliases: []string{"symptoms"}},
		{Topic: "runbooks", Group: operation, Summary: "What to do about each alert", Aliases: []string{"runbook"}},
		{Topic: "replay", Group: evidence, Summary: "Replaying, exporting and following sessions", Aliases: []string{"export", "tail"}},
		{Topic: "auditors", Group: evidence, Summary: "Auditor's guide, for people who do not program", Aliases: []string{"auditor", "compliance"}},
		{Topic: "audit", Group: evidence, Summary: "Proving that a copy is complete and unchanged", Aliases: []string{"auditing"}},
		{Topic: "report", Group: evidence, Summary: "Signed reports of all sessions of a period", Aliases: []string{"reports"}},
		{Topic: "audit-trail", Group: evidence, Summary: "Who watched, replayed, exported or ended sessions, and changed drains", Aliases: []string{"events", "trail"}},
		{Topic: "security", Group: evidence, Summary: "Threats, what a recording cannot see, health information, hardening", Aliases: []string{"threats", "phi", "vulnerability"}},
		{Topic: "development", Group: reference, Summary: "Tests, packages, contributing, benchmark", Aliases: []string{"tests", "contributing"}},
		{Topic: "api", Group: reference, Summary: "The HTTP API: authentication, errors, paging, streams", Aliases: []string{"http", "openapi", "curl"}},
		{Topic: "changelog", Group: reference, Summary: "What changed, and remarks on upgrades", Aliases: []string{"changes", "releases"}},
		{Topic: "cli-reference", Group: reference, Summary: "Every command and its flags (generated)", Aliases: []string{"commands", "cli"}},
		{Topic: "errors-reference", Group: reference, Summary: "What each error message of check means, and what to do (generated)", Aliases: []string{"errors", "codes", "messages"}},
		{Topic: "configuration-reference", Group: reference, Summary: "Every configuration key (generated)", Aliases: []string{"keys", "settings"}},
		{Topic: "http-api-reference", Group: reference, Summary: "Every operation of the HTTP API (generated)", Aliases: []string{"api-reference"}},
		{Topic: "metrics-reference", Group: reference, Summary: "Every metric (generated)"},
		{Topic: "alerts-reference", Group: reference, Summary: "Every alert with its expression (generated)"},
	}
}

// Message returns the entry of errors-reference.md for the code of a message, such as E203, as
// Markdown; false if there is none.
func Message(code string) ([]byte, bool) {
	page := Page{Topic: "errors-reference"}.Markdown()
	begin := bytes.Index(page, []byte("\n### "+strings.ToUpper(code)+": "))
	if begin < 0 {
		return nil, false
	}
	entry := page[begin+1:]
	if end := bytes.Index(entry[1:], []byte("\n##")); end >= 0 {
		entry = entry[:end+2]
	}
	return append([]byte("#"), bytes.TrimLeft(entry, "#")...), true
}

// Markdown returns the text of the page.
func (p Page) Markdown() []byte {
	text, err := files.ReadFile(p.Topic + ".md")
	if err != nil {
		panic(fmt.Sprintf("docs: page %s: %v", p.Topic, err)) // it is embedded, and a test reads all
	}
	return text
}
