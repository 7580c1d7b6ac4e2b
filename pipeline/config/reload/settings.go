package reload

import (
	"reflect"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// An effect is what a changed setting needs to take effect.
type effect int

const (
	// live settings take effect at a reload, for new sessions, logins and batches.
	live effect = iota + 1
	// restart settings are read at the start only.
	restart
)

// A setting is a field of the configuration, or a section with all of its fields, by the path in
// YAML.
type setting struct {
	path   string
	effect effect
}

// settings has every field of the configuration: a new one is classified here. Changed settings are
// reported in this order.
var settings = [...]setting{
	{"store", restart},
	{"nats", restart},
	{"sync_interval", restart},
	{"streams.max_bytes", restart},
	{"streams.retention", restart},
	{"gateway.listen", restart},
	{"gateway.host_key", restart},
	{"gateway.accept_env", restart},
	{"sandbox", restart},
	{"gateway.stop_timeout", restart},
	{"gateway.keepalive_interval", restart},
	{"gateway.keepalive_count", restart},
	{"admin.listen", restart},
	{"admin.socket", restart},
	{"admin.tls", restart},
	{"admin.hosts", restart},
	{"admin.limits", restart},
	{"admin.token", restart},
	{"admin.tokens", restart},
	{"admin.console", restart},
	{"user_document", restart}, // the key itself can be rotated
	{"docker", restart},
	{"log", restart},
	{"tracing", restart},

	{"gateway.banner", live},
	{"gateway.max_startups", live},
	{"gateway.per_source_max_startups", live},
	{"gateway.per_source_net_block_size", live},
	{"gateway.per_source_penalties", live},
	{"gateway.per_source_penalty_exempt_list", live},
	{"gateway.login_grace_time", live},
	{"gateway.max_auth_tries", live},
	{"gateway.max_sessions", live},
	{"gateway.max_connections", live},
	{"gateway.max_connections_per_user", live},
	{"gateway.max_sessions_per_user", live},
	{"gateway.unused_connection_timeout", live},
	{"admin.ca_file", live}, // of operators' commands
	{"api_url", live},
	{"access_token", live},
	{"user_ca", live},
	{"users", live},
	{"stacks", live},
	{"apps", live}, // but the first one with the docker runtime: see NeedRestart
	{"drains", live},
	{"insecure_file_permissions", live},
}

// firstDockerApp names a change of apps that needs a restart: the gateway connects to the Docker
// daemon at the start, if an app uses it.
const firstDockerApp = "apps: the first one with runtime docker"

// NeedRestart returns the settings that differ between two configurations and are read at the start
// only.
func NeedRestart(before, after *config.Config) []string {
	var changed []string
	for _, s := range settings {
		if s.effect == restart && !reflect.DeepEqual(valueAt(before, s.path), valueAt(after, s.path)) {
			changed = append(changed, s.path)
		}
	}
	if after.UsesRuntime(config.RuntimeDocker) && !before.UsesRuntime(config.RuntimeDocker) {
		changed = append(changed, firstDockerApp)
	}
	return changed
}

// restartError names the changed settings for which a configuration is refused.
type restartError []string

func (e restartError) Error() string {
	return strings.Join(e, ", ") + " can't be changed while ttydrain runs: restart to change it"
}

// valueAt returns the value of the setting at a path; nil if there is none.
func valueAt(c *config.Config, path string) any {
	v := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(path, ".") {
		field, ok := fieldNamed(v.Type(), name)
		if !ok {
			return nil
		}
		v = v.FieldByIndex(field.Index)
	}
	return v.Interface()
}

// fieldNamed returns the field of a struct with a name in YAML.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); yamlName(f) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// yamlName returns the name of a field in YAML; "" for one that is not read.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return ""
	}
	return name
}
