// Package docs holds the documentation of ttydrain: Markdown pages, one a topic, which are embedded
// in the binary and readable on the code host as well. [Render] shows them in a terminal, [HTML] in
// the console, and an [Index] finds their sections.
//
// A page is a file TOPIC.md of this folder and an entry of [Pages]. The first line of a page is its
// title. Links to other pages are relative (syslog.md#relp), and so are links to other files of the
// repository.
//
// The pages NAME-reference.md are generated: by this package's tests from the JSON Schema of the
// configuration, the OpenAPI document of the HTTP API and the alert rules, by those of cmd/ttydrain
// from its commands and the metrics that it registers, and by those of pipeline/config from the
// codes of mistakes. Update them with
//
//	go test ./cmd/ttydrain/docs ./cmd/ttydrain ./pipeline/config -run Reference -update
//
// Code blocks in YAML are checked against the schema of the configuration. Those marked "yaml
// configuration" are whole configurations, which `ttydrain check` accepts; those marked "yaml
// other" belong to other programs. Shell blocks marked "sh run" are run, and those marked
// "rsyslog …", "syslog-ng …" and "sh elasticsearch" are tried with these servers: the tests are in
// cmd/ttydrain/e2e and sinks/elasticsearch.
//
// Prose is spelled as in British English, and its reading grade is bounded.
package docs
