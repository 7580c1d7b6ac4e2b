package config

// SumoLogic is a preset for an HTTP Logs and Metrics Source of a hosted collector at Sumo Logic:
// one record per line, compressed.
//
// The source should treat each line as a message ("Collecting Multiline Logs" explains how to
// disable multiline processing), and take the time from "@timestamp", the first one in each line.
type SumoLogic struct {
	// URL is the URL of the source. It includes the only credentials ("The URL securely encodes the
	// Collector and Source information", according to "HTTP Logs and Metrics Source"), so it is a
	// secret.
	URL Secret `yaml:"url" rule:"required" want:"the URL of the HTTP source, as a string, ${NAME} or file:PATH"`
	// Category, SourceName and SourceHost override the settings of the source; "" keeps them.
	Category    string `yaml:"category"`
	SourceName  string `yaml:"source_name"`
	SourceHost  string `yaml:"source_host"`
	Compression string `yaml:"compression" enum:"none|gzip"`
	Proxy       *Proxy `yaml:"proxy" want:"none, or a mapping with the url of a proxy"`
	TLS         TLS    `yaml:",inline"`
}

func (p *SumoLogic) setDefaults() {
	p.Compression = "gzip" // recommended by "HTTP Logs and Metrics Source"
}

func (p *SumoLogic) expand(dr *Drain) { dr.HTTPS = p.https() }

func (p *SumoLogic) finish(d *decoder, path string) {
	d.checkURL(path+".url", p.URL)
	d.checkPrintable(path+".category", p.Category)
	d.checkPrintable(path+".source_name", p.SourceName)
	d.checkPrintable(path+".source_host", p.SourceHost)
	d.checkProxy(path+".proxy", p.Proxy)
	d.checkTLS(path, &p.TLS)
}

// https returns the expansion of the preset.
//
// Limits, from "HTTP Logs and Metrics Source": requests "up to but not exceeding 1MB of
// uncompressed data". The headers are those of "Upload Logs to an HTTP Source".
//
// "Search Large Messages" states that a message of more than 64 KB is stored as several, in order,
// each marked: nothing is lost, but such a record is not parsed as one JSON object. It is still
// sent, because a dead letter would withhold it from the drain; a line of binary output can be as
// long. No limit of the number of messages per request could be found.
func (p *SumoLogic) https() *HTTPS {
	headers := make(map[string]Secret)
	for name, value := range map[string]string{
		"X-Sumo-Category": p.Category, "X-Sumo-Name": p.SourceName, "X-Sumo-Host": p.SourceHost,
	} {
		if value != "" {
			headers[name] = NewSecret(value)
		}
	}
	return &HTTPS{
		URL: p.URL, Format: "ndjson", Compression: p.Compression, Proxy: p.Proxy, TLS: p.TLS, Headers: headers,
		MaxRequestBytes: 1_000_000,
	}
}
