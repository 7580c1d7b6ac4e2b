package config

// Log configures the log of the process on standard error.
type Log struct {
	Level  string `yaml:"level" enum:"debug|info|warn|error"`
	Format string `yaml:"format" enum:"text|json"`
}

func (l *Log) setDefaults() { l.Level, l.Format = "info", "text" }

// Tracing is an OpenTelemetry collector that receives traces of some batches by OTLP over HTTP.
type Tracing struct {
	// Endpoint is the URL of the collector's traces, without credentials.
	Endpoint string `yaml:"endpoint" rule:"required" want:"a URL such as http://127.0.0.1:4318/v1/traces"`
	// SampleRatio is the fraction of chunks of output that start a trace.
	SampleRatio float64           `yaml:"sample_ratio"`
	Headers     map[string]Secret `yaml:"headers" want:"a mapping of names to values, such as {Authorization: Bearer 123}"`
	TLS         TLS               `yaml:",inline"`
}

func (t *Tracing) setDefaults() { t.SampleRatio = 0.01 }

// finishTracing checks rules that involve more than one field.
func (c *Config) finishTracing(d *decoder) {
	t := c.Tracing
	if t == nil {
		return
	}
	secure := true
	if d.usable("tracing.endpoint") {
		u, problem := parseURL(t.Endpoint, "https", "http")
		switch {
		case problem != "":
			d.refuse(codeURL, "tracing.endpoint", "%s", problem)
		case u.Path == "" || u.Path == "/":
			d.refuse(codeURL, "tracing.endpoint", "has no path; expected the whole URL, such as %s", u.Scheme+"://"+u.Host+"/v1/traces")
		default:
			secure = u.Scheme == "https"
		}
	}
	d.checkTLSUsed("tracing", secure)
	d.checkTLS("tracing", &t.TLS)
	d.checkHeaders("tracing.headers", t.Headers)
}
