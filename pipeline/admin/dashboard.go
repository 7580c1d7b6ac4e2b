package admin

import (
	"bytes"
	_ "embed"
)

//go:embed grafana.json
var dashboard []byte

// Dashboard returns a dashboard of the metrics as JSON for Grafana 10 or later. Grafana asks for
// the Prometheus data source.
func Dashboard() []byte { return bytes.Clone(dashboard) }
