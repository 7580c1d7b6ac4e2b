package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestPresets is what the presets of testdata/good stand for.
func TestPresets(t *testing.T) {
	setEnv(t)
	tls := TLS{CAFile: "testdata/keys/ca.crt", CertFile: "testdata/keys/client.crt", KeyFile: "testdata/keys/client.key", ServerName: "logs.internal"}
	// What differs between two drains of one type, as one text: URL or address, format and
	// compression, headers.
	want := map[string]string{
		"datadog":         "https://http-intake.logs.datadoghq.com/api/v2/logs array gzip DD-API-KEY=hunter-token",
		"datadog-eu":      "https://http-intake.logs.datadoghq.eu/api/v2/logs array none DD-API-KEY=token-of-a-file",
		"datadog-link":    "https://intake.internal.example.com/api/v2/logs array gzip DD-API-KEY=hunter-key",
		"sumologic":       "https://endpoint1.collection.us2.sumologic.com/receiver/v1/http/hunter-token== ndjson gzip",
		"sumologic-full":  "https://collectors.sumologic.com/receiver/v1/http/hunter-code== ndjson none X-Sumo-Category=prod/ssh X-Sumo-Host=gateway X-Sumo-Name=ttydrain",
		"logdna":          "https://logs.mezmo.com/logs/ingest?hostname=ttydrain array none apikey=hunter-token",
		"logdna-full":     "https://logs.eu.example.com/logs/ingest?hostname=ssh+gateway&tags=production%2Caudit array gzip apikey=token-of-a-file",
		"papertrail":      "logs2.papertrailapp.com:12345 newline local0",
		"papertrail-full": "logs2.papertrailapp.com:12345 newline local0 exact",
		"solarwinds":      "syslog.collector.na-01.cloud.solarwinds.com:6514 newline local0 hunter-token",
		"solarwinds-full": "syslog.collector.eu-01.cloud.solarwinds.com:6514 newline local0 exact token-of-a-file",
	}
	for _, d := range load(t, "testdata/good/presets.yaml").Drains {
		t.Run(d.Name, func(t *testing.T) {
			var got []string
			var used TLS
			switch {
			case d.HTTPS != nil && d.Syslog == nil && d.Elasticsearch == nil:
				h := d.HTTPS
				used = h.TLS
				got = append(got, h.URL.Reveal(), h.Format, h.Compression)
				for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
					got = append(got, name+"="+h.Headers[name].Reveal())
				}
			case d.Syslog != nil && d.HTTPS == nil && d.Elasticsearch == nil:
				s := d.Syslog
				used = s.TLS
				got = append(got, s.Address, s.Framing, s.Facility)
				if s.Exact {
					got = append(got, "exact")
				}
				if s.Token.IsSet() {
					got = append(got, s.Token.Reveal())
				}
				limit := int64(100_000)
				if strings.HasSuffix(d.Name, "-full") {
					limit = 64 << 10
				}
				if (s.TokenEnterprise == 41058) != (d.Type == "solarwinds") || s.MaxMessageBytes != limit {
					t.Errorf("%+v", s)
				}
			default:
				t.Fatalf("%+v", d)
			}
			if got := strings.Join(got, " "); got != want[d.Name] {
				t.Errorf("got  %s\nwant %s", got, want[d.Name])
			}
			if full := strings.HasSuffix(d.Name, "-full") || d.Name == "datadog-eu"; full != (used == tls) || !full && used != (TLS{}) {
				t.Errorf("TLS: %+v", used)
			}
			delete(want, d.Name)
		})
	}
	for name := range want {
		t.Errorf("there is no drain %s", name)
	}
}

func TestPresetTags(t *testing.T) {
	if got := (&Datadog{Site: "datadoghq.com"}).https().Shape.Constant; !reflect.DeepEqual(got, map[string]string{"ddsource": "ttydrain"}) {
		t.Errorf("%v", got)
	}
	if got := (&Datadog{Tags: []string{"a:1", "b:2"}}).https().Shape.Constant["ddtags"]; got != "a:1,b:2" {
		t.Errorf("%q", got)
	}
}

// TestPresetReload: a changed secret of a preset is a changed drain.
func TestPresetReload(t *testing.T) {
	setEnv(t)
	before := load(t, "testdata/good/presets.yaml").Drains
	if !reflect.DeepEqual(before, load(t, "testdata/good/presets.yaml").Drains) {
		t.Error("the same file gives other drains")
	}
	t.Setenv("TTYDRAIN_TEST_TOKEN", "another")
	after := load(t, "testdata/good/presets.yaml").Drains
	for i := range before {
		changed := slices.Contains([]string{"datadog", "sumologic", "logdna", "solarwinds"}, before[i].Name)
		if same := reflect.DeepEqual(before[i], after[i]); same == changed {
			t.Errorf("drain %s: same is %v after a secret changed", before[i].Name, same)
		}
	}
}
