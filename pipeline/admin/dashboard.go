package admin

import (
	"bytes"
	_ "embed"
)

//go:embed grafana.json
var dashboard []byte

// Dashboard is a dashboard of the metrics, as JSON for Grafana 10 or later, which asks which
// Prometheus data source to show.
func Dashboard() []byte { return bytes.Clone(dashboard) }
