package admin

import _ "embed"

//go:embed alerts.yml
var alerts []byte

// Alerts are alert rules for Prometheus, in YAML, about the metrics that /metrics has.
func Alerts() []byte { return alerts }
