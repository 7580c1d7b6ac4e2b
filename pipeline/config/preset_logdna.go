package config

import (
	"net/url"
	"strings"

	"github.com/ttydrain/ttydrain/sinks/https"
)

// LogDNA is a preset for the log ingestion of Mezmo, formerly LogDNA: objects with an array of
// lines.
//
// A line has the text as "line" (after its operation_id), "timestamp", "app" and "level", and the
// rest of the record, under its own names, in "meta".
type LogDNA struct {
	// IngestionKey is one of the account's ingestion keys, not a service key.
	IngestionKey Secret `yaml:"ingestion_key" rule:"required"`
	// URL is the target of requests.
	URL Secret `yaml:"url" as:"url" want:"a URL that starts with https://"`
	// Hostname is the source of all lines: Mezmo accepts one per request. The gateway's own is in
	// meta.
	Hostname string `yaml:"hostname"`
	// Tags are added to each request.
	Tags        []string `yaml:"tags" want:"a list of tags, such as [production]"`
	Compression string   `yaml:"compression" enum:"none|gzip"`
	Proxy       *Proxy   `yaml:"proxy" want:"none, or a mapping with the url of a proxy"`
	TLS         TLS      `yaml:",inline"`
}

func (p *LogDNA) setDefaults() {
	p.URL = NewSecret("https://logs.mezmo.com/logs/ingest")
	p.Hostname = "ttydrain"
	// That the API accepts compressed requests could not be verified.
	p.Compression = "none"
}

func (p *LogDNA) expand(dr *Drain) { dr.HTTPS = p.https() }

func (p *LogDNA) finish(d *decoder, path string) {
	d.checkSecretLine(path+".ingestion_key", p.IngestionKey)
	d.checkURL(path+".url", p.URL)
	if at := path + ".url"; d.usable(at) && strings.Contains(p.URL.Reveal(), "?") {
		d.refuse(codeURL, at, "has a \"?\" part, which ttydrain makes itself; expected none: there are hostname, tags and ingestion_key")
	}
	d.checkPrintable(path+".hostname", p.Hostname)
	d.notEmpty(path+".tags", len(p.Tags))
	d.checkTags(path+".tags", p.Tags)
	d.checkProxy(path+".proxy", p.Proxy)
	d.checkTLS(path, &p.TLS)
}

// https returns the expansion of the preset.
//
// The path, the query, the header apikey, the lines' fields and "a maximum payload size of 10 MB"
// are from Mezmo's API reference, "Send Log Lines". Requests still have at most 2 MiB, like those
// of Mezmo's own clients (logdna-agent-v2 and logdna for Python): the service has refused larger
// ones with a 400.
//
// For the size of a line "Send Log Lines" refers to "Mezmo Ingestion Service Limits", whose figures
// could not be verified. Mezmo's client for Python truncates lines at 32,000 bytes, so the text is
// truncated there, visibly; the complete text is in meta.log. Whether meta has a limit of its own
// could not be verified either.
func (p *LogDNA) https() *HTTPS {
	query := url.Values{"hostname": {p.Hostname}}
	if len(p.Tags) > 0 {
		query.Set("tags", strings.Join(p.Tags, ","))
	}
	return &HTTPS{
		URL: NewSecret(p.URL.Reveal() + "?" + query.Encode()), Format: "array", Compression: p.Compression, Proxy: p.Proxy, TLS: p.TLS,
		Headers:         map[string]Secret{"apikey": p.IngestionKey},
		MaxRequestBytes: 2 << 20, ArrayField: "lines",
		Shape: &https.Shape{Message: "line", MaxMessageBytes: 32_000, Milliseconds: "timestamp", Level: "level",
			App: "app", Record: "meta"},
	}
}
