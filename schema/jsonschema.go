package schema

import (
	"bytes"
	_ "embed"
)

//go:embed config.schema.json
var configSchema []byte

//go:embed record.schema.json
var recordSchema []byte

// ConfigSchema is the JSON Schema (draft 2020-12) of the configuration file, for editors and other
// tools. What it cannot say, such as that names refer to something, only reading the file tells.
func ConfigSchema() []byte { return bytes.Clone(configSchema) }

// RecordSchema is the JSON Schema (draft 2020-12) of a record as drains get it.
func RecordSchema() []byte { return bytes.Clone(recordSchema) }
