package admin

import _ "embed"

//go:embed alerts.yml
var alerts []byte

// Alerts returns alert rules for Prometheus, in YAML, for the metrics at /metrics.
func Alerts() []byte { return alerts }
