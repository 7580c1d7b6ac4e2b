package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// A commandGroup is a group of commands in the help of ttydrain.
type commandGroup struct {
	id, title string
	commands  []string
}

// commandGroups returns the groups, in the order of the help.
func commandGroups() []commandGroup {
	return []commandGroup{
		{"run", "Run", []string{"demo", "serve", "ready", "console", "ssh", "login", "logout", "contexts", "receive"}},
		{"sessions", "Sessions", []string{"sessions", "tail", "replay", "export"}},
		{"drains", "Drains", []string{"drains", "deadletters", "alerts", "dashboards"}},
		{"evidence", "Evidence", []string{"audit", "report", "events", "keys"}},
		{"setup", "Set-up", []string{"init", "check", "streams", "schema", "docs", "completion", "version", "help"}},
	}
}

// examples returns the examples of the commands that have none of their own, by command path.
func examples() map[string][]string {
	return map[string][]string{
		"demo":                  {"demo", "demo --once --dir ./demo"},
		"serve":                 {"serve -c ttydrain.yaml", "serve -c ttydrain.yaml --role router --log-format json"},
		"check":                 {"check -c ttydrain.yaml", "check -c ttydrain.yaml --connect"},
		"receive":               {"receive", "receive --https 0.0.0.0:8443 --syslog '' --file received.ndjson"},
		"drains":                {"drains list", "drains test siem"},
		"drains list":           {"drains list", "drains list --output json | jq -r '.[].state'"},
		"drains test":           {"drains test siem", "drains test siem --output json"},
		"drains pause":          {"drains pause siem", "drains pause siem --yes"},
		"drains resume":         {"drains resume siem", "drains resume siem --admin 127.0.0.1:9464"},
		"drains rewind":         {"drains rewind siem --to 24h", "drains rewind siem --operation 42"},
		"events":                {"events --since 24h", "events --kind session.kill --actor ada --output json"},
		"deadletters":           {"deadletters list", "deadletters show 7"},
		"deadletters list":      {"deadletters list", "deadletters list --drain siem --output json"},
		"deadletters show":      {"deadletters show 7", "deadletters show 7 | jq .record"},
		"deadletters redeliver": {"deadletters redeliver 7", "deadletters redeliver 7 --admin 127.0.0.1:9464"},
		"deadletters discard":   {"deadletters discard 7", "deadletters discard 7 --yes"},
		"sessions":              {"sessions list", "sessions kill 42 --reason 'the incident is over'"},
		"sessions list":         {"sessions list", "sessions list --all --app web --output json"},
		"sessions show":         {"sessions show 42", "sessions show 42 --output json"},
		"streams":               {"streams apply", "streams apply -c admin.yaml"},
		"streams apply":         {"streams apply -c admin.yaml", "streams apply -c admin.yaml --output json"},
		"keys":                  {"keys list", "keys rotate"},
		"keys list":             {"keys list", "keys list -c ttydrain.yaml --output json"},
		"keys rotate":           {"keys rotate", "keys rotate -c ttydrain.yaml"},
		"keys make":             {"keys make ./keys --server nats-1 --server nats-2", "keys make ./keys --owner 65532:65532"},
		"schema":                {"schema config > ttydrain.schema.json", "schema record"},
		"schema config":         {"schema config > ttydrain.schema.json", "schema config | jq .properties.drains"},
		"schema record":         {"schema record > record.schema.json", "schema record | jq .properties"},
		"schema api":            {"schema api > openapi.json", "schema api | jq '.paths | keys'"},
		"schema elasticsearch":  {"schema elasticsearch", "schema elasticsearch --product opensearch --data-stream logs-ssh-eu"},
		"dashboards":            {"dashboards kibana > ttydrain.ndjson", "dashboards metrics > metrics.json"},
		"dashboards kibana":     {"dashboards kibana > ttydrain.ndjson", "dashboards kibana --data-stream 'logs-ssh-eu*' > ttydrain.ndjson"},
		"dashboards grafana":    {"dashboards grafana > sessions.json", "dashboards grafana | jq .title"},
		"dashboards metrics":    {"dashboards metrics > metrics.json", "dashboards metrics | jq .title"},
		"alerts":                {"alerts > /etc/prometheus/ttydrain.yml", "alerts | promtool check rules"},
		"completion":            {"completion bash > /etc/bash_completion.d/ttydrain", "completion zsh --help"},
		"completion bash":       {"completion bash > /etc/bash_completion.d/ttydrain", "completion bash --no-descriptions"},
		"completion zsh":        {"completion zsh > \"${fpath[1]}/_ttydrain\"", "completion zsh --no-descriptions"},
		"completion fish":       {"completion fish > ~/.config/fish/completions/ttydrain.fish", "completion fish | source"},
		"completion powershell": {"completion powershell | Out-String | Invoke-Expression", "completion powershell > ttydrain.ps1"},
		"help":                  {"help serve", "help drains rewind"},
	}
}

// setHelp puts the commands of root into groups, and adds missing examples.
func setHelp(root *cobra.Command) {
	groups := make(map[string]string) // by command
	for _, g := range commandGroups() {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title + ":"})
		for _, name := range g.commands {
			groups[name] = g.id
		}
	}
	for _, c := range root.Commands() {
		c.GroupID = groups[c.Name()]
	}
	setExamples(root, examples())
}

func setExamples(c *cobra.Command, examples map[string][]string) {
	for _, below := range c.Commands() {
		setExamples(below, examples)
	}
	if list := examples[strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")]; c.Example == "" && list != nil {
		c.Example = "  ttydrain " + strings.Join(list, "\n  ttydrain ")
	}
}
