package config

import (
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks/https"
)

// Datadog is a preset for Datadog's log intake: compressed arrays of at most 1,000 logs.
//
// A log is the record, with the text as "message" instead of "text" (after its operation_id), and
// the reserved attributes that Datadog reads: "timestamp", "status", "hostname", "ddsource",
// "ddtags", and the record's own "service".
type Datadog struct {
	APIKey Secret `yaml:"api_key" rule:"required"`
	// Site is the "site parameter" of the page "Getting Started with Datadog Sites"; the intake's host
	// is "http-intake.logs." and the site ("Send logs").
	Site string `yaml:"site" enum:"datadoghq.com|us3.datadoghq.com|us5.datadoghq.com|datadoghq.eu|ap1.datadoghq.com|ap2.datadoghq.com|uk1.datadoghq.com|ddog-gov.com|us2.ddog-gov.com"`
	// URL is the target of requests instead of the site's intake: a proxy or a private link.
	URL Secret `yaml:"url" as:"url" want:"a URL that starts with https://"`
	// Tags are added to each log.
	Tags        []string `yaml:"tags" want:"a list of tags, such as [env:production]"`
	Compression string   `yaml:"compression" enum:"none|gzip"`
	Proxy       *Proxy   `yaml:"proxy" want:"none, or a mapping with the url of a proxy"`
	TLS         TLS      `yaml:",inline"`
}

func (p *Datadog) setDefaults() {
	p.Site = "datadoghq.com"
	p.Compression = "gzip" // recommended by "Send logs"
}

func (p *Datadog) expand(dr *Drain) { dr.HTTPS = p.https() }

func (p *Datadog) finish(d *decoder, path string) {
	d.checkSecretLine(path+".api_key", p.APIKey)
	if d.usable(path+".site") && d.given(path+".url") {
		d.refuse(codeExclusive, path+".url", "is set together with site; expected only one of them")
	}
	d.checkURL(path+".url", p.URL)
	d.notEmpty(path+".tags", len(p.Tags))
	d.checkTags(path+".tags", p.Tags)
	d.checkProxy(path+".proxy", p.Proxy)
	d.checkTLS(path, &p.TLS)
}

// https returns the expansion of the preset.
//
// Limits, from Datadog's API reference, "Send logs": 5 MB for a request before compression, 1,000
// logs in it, and 1 MB for one log. Datadog truncates a longer log and still returns 2xx, so such a
// record is not sent: it becomes a dead letter. (ttydrain's lines have at most 16 KiB: only the
// start of a session with a very long command line can be that large.)
//
// "Send logs" and "Log Date Remapper" also state that the time of a log may be up to 18 hours in
// the past. What happens to an older one could not be verified; to lose nothing after a longer
// outage of the drain, a record is marked as late an hour earlier. "Log Date Remapper" lists
// "timestamp" among the attributes for the time of a log, in milliseconds.
//
// That a log may have as many attributes as a record, about forty, could not be verified.
func (p *Datadog) https() *HTTPS {
	constant := map[string]string{"ddsource": "ttydrain"}
	if len(p.Tags) > 0 {
		constant["ddtags"] = strings.Join(p.Tags, ",")
	}
	url := p.URL
	if !url.IsSet() {
		url = NewSecret("https://http-intake.logs." + p.Site + "/api/v2/logs")
	}
	return &HTTPS{
		URL: url, Format: "array", Compression: p.Compression, Proxy: p.Proxy, TLS: p.TLS,
		Headers:         map[string]Secret{"DD-API-KEY": p.APIKey},
		MaxRequestBytes: 5_000_000, MaxRequestRecords: 1000, MaxRecordBytes: 1_000_000,
		Shape: &https.Shape{Message: "message", Milliseconds: "timestamp", Level: "status", Host: "hostname",
			Constant: constant, MaxAge: 17 * time.Hour},
	}
}
