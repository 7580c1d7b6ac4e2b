package schema

import (
	"bytes"
	_ "embed"
)

//go:embed config.schema.json
var configSchema []byte

//go:embed record.schema.json
var recordSchema []byte

// ConfigSchema returns the JSON Schema (draft 2020-12) of the configuration file, for editors and
// other tools. A schema cannot express some rules, such as that names refer to existing objects:
// only ttydrain check finds those mistakes.
func ConfigSchema() []byte { return bytes.Clone(configSchema) }

// RecordSchema returns the JSON Schema (draft 2020-12) of a record as drains receive it.
func RecordSchema() []byte { return bytes.Clone(recordSchema) }
