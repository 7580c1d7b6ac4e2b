package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/file"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/probe"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

var updateReports = flag.Bool("update-reports", false, "write the golden files of reports anew")

// secret is in the settings of every drain, and may be in no report.
const secret = "SECRET-of-the-drain"

// A reportCase is a drain with a fault.
type reportCase struct {
	name string
	ok   bool
	open func(t *testing.T) (sinks.Sink, error)
}

// checkReports writes a test record to each drain, and compares the printed report with the golden
// files.
func checkReports(t *testing.T, cases []reportCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			drain := drain.Drain{Name: "siem", PHI: true, Open: func() (sinks.Sink, error) { return c.open(t) }}
			text := "This is a test of the drain."
			report := drain.Test(t.Context(), &sinks.Entry{
				Operation: &schema.Operation{ID: schema.TestPrefix + "1", App: "ttydrain", Started: time.Now()},
				Record:    &schema.Record{Event: schema.EventOutput, Sequence: 1, Time: time.Now().UnixNano(), Log: []byte(text + "\n"), Text: []byte(text)},
			})
			var printed bytes.Buffer
			if err := printReport(&printed, report); err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(report)
			if err != nil {
				t.Fatal(err)
			}
			for _, out := range []string{printed.String(), string(data)} {
				if strings.Contains(out, secret) || strings.Contains(out, base64.StdEncoding.EncodeToString([]byte(secret))) {
					t.Errorf("the report has the drain's secret: %s", out)
				}
			}
			if report.OK != c.ok {
				t.Errorf("ok is %t", report.OK)
			}
			checkWays(t, report)
			got := withoutVariables(printed.String())
			file := filepath.Join("testdata", "reports", strings.ReplaceAll(c.name, " ", "-")+".golden")
			if *updateReports {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
			}
		})
	}
}

// checkWays checks that no step is tried after a failed one, and that each failed step has advice.
func checkWays(t *testing.T, report *drain.Report) {
	t.Helper()
	failed := false
	for _, s := range report.Steps {
		if failed && s.Result != probe.ResultNotTried {
			t.Errorf("step %s is %q after one that failed", s.Name, s.Result)
		}
		failed = failed || s.Result == probe.ResultFailed
		if (s.Result == probe.ResultFailed || s.Result == probe.ResultWarning) && (s.Problem == "" || s.Do == "") {
			t.Errorf("step %s does not say what is wrong and what to do: %+v", s.Name, s)
		}
	}
	if failed == report.OK {
		t.Errorf("a step failed: %t, and ok is %t", failed, report.OK)
	}
}

// variables are the parts of a report that change each time.
var variables = []struct{ pattern, text string }{
	{`\.ds-[\w.-]+`, "INDEX"},
	{`pipeline logs-ttydrain[a-z0-9-]+`, "pipeline NAME"},
	{`logs-ttydrain-[a-z0-9]+`, "DATASTREAM"},
	{`(127\.0\.0\.1|drain\.example\.com|x{64}\.invalid):\d{3,}`, "$1:PORT"},
	{`(ok|warning|failed|not tried) +[\d.]+ +`, "$1  MS  "},
	{`within [\d.]+m?s`, "within TIME"},
	{`\S+/archive\b`, "DIR/archive"},
	{`[\d.]+ GB`, "N GB"},
	{`current time \S+ is`, "current time NOW is"},
	{`\d{4}-\d\d-\d\dT[\d:]+Z`, "TIME"},
	{`\d{4}-\d\d-\d\d`, "DATE"},
	{`-?\d+ days`, "N days"},
	{`read tcp \S+`, "read tcp"},
	{` {2,}`, "  "},
	{`TLS_(AES|CHACHA20|ECDHE)\w+`, "CIPHER"},
	{` on [\d.]+:53: .*?\)`, ")"},
}

func withoutVariables(s string) string {
	for _, v := range variables {
		s = regexp.MustCompile(v.pattern).ReplaceAllString(s, v.text)
	}
	return regexp.MustCompile(` +\n`).ReplaceAllString(s, "\n")
}

// An httpsCase is the state of an HTTPS drain.
type httpsCase struct {
	until   time.Time // of its certificate; zero for long
	host    string    // of its certificate; "" for the right one
	trusted bool
	client  bool   // it demands a client certificate
	version uint16 // of TLS at most
	status  int    // of the answer to POST; 0 for 204
}

func (c httpsCase) open(t *testing.T) (sinks.Sink, error) {
	t.Helper()
	authority := sinktest.NewAuthority(t)
	until := c.until
	if until.IsZero() {
		until = time.Now().Add(90 * 24 * time.Hour)
	}
	host := c.host
	if host == "" {
		host = "127.0.0.1"
	}
	cert, key := authority.Issue(t, until, host)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusMethodNotAllowed
		if r.Method == http.MethodPost {
			status = max(c.status, http.StatusNoContent)
		}
		w.WriteHeader(status)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: c.version}
	if c.client {
		server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	o := https.Options{URL: server.URL + "/" + secret, Headers: http.Header{"Authorization": {secret}}, Timeout: 20 * time.Second}
	if c.trusted {
		o.TLS.CAFile = authority.File
	}
	return https.New(o)
}

// silentAddress returns an address at which the kernel accepts connections that are never read.
func silentAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestReportHTTPS(t *testing.T) {
	t.Parallel()
	unknown := strings.Repeat("x", 64) + ".invalid" // longer than DNS lets a label be
	at := func(address string, timeout time.Duration) func(t *testing.T) (sinks.Sink, error) {
		return func(*testing.T) (sinks.Sink, error) {
			return https.New(https.Options{URL: "https://" + address + "/" + secret, Timeout: timeout})
		}
	}
	dead := porttest.Reserve(t)
	checkReports(t, []reportCase{
		{"https", true, httpsCase{trusted: true}.open},
		{"https ends soon", true, httpsCase{trusted: true, until: time.Now().Add(12 * time.Hour)}.open},
		{"https unknown host", false, at(unknown, time.Minute)},
		{"https refused", false, at(dead, time.Minute)},
		{"https silent", false, at(silentAddress(t), 500*time.Millisecond)},
		{"https no TCP answer", false, at(fullAddress(t), 500*time.Millisecond)},
		{"https expired", false, httpsCase{trusted: true, until: time.Now().Add(-time.Hour)}.open},
		{"https wrong host", false, httpsCase{trusted: true, host: "logs.example.com"}.open},
		{"https unknown CA", false, httpsCase{}.open},
		{"https client certificate", false, httpsCase{trusted: true, client: true}.open},
		{"https client certificate TLS 1.2", false, httpsCase{trusted: true, client: true, version: tls.VersionTLS12}.open},
		{"https 400", false, httpsCase{trusted: true, status: 400}.open},
		{"https 401", false, httpsCase{trusted: true, status: 401}.open},
		{"https 403", false, httpsCase{trusted: true, status: 403}.open},
		{"https 404", false, httpsCase{trusted: true, status: 404}.open},
		{"https 503", false, httpsCase{trusted: true, status: 503}.open},
		{"https settings", false, func(*testing.T) (sinks.Sink, error) {
			return nil, errors.New("ca_file ./ca.pem does not exist: create it, or correct the path")
		}},
	})
}

func TestReportSyslog(t *testing.T) {
	t.Parallel()
	open := func(start func(testing.TB, syslogtest.Options) *syslogtest.Server, change func(*syslogtest.Server, *syslog.Options)) func(t *testing.T) (sinks.Sink, error) {
		return func(t *testing.T) (sinks.Sink, error) {
			server := start(t, syslogtest.Options{RequireClientCert: true})
			o := syslog.Options{Address: server.Address, TLS: server.TLS(), Token: secret, Timeout: 20 * time.Second}
			if change != nil {
				change(server, &o)
			}
			return syslog.New(o)
		}
	}
	without := func(_ *syslogtest.Server, o *syslog.Options) { o.TLS.CertFile, o.TLS.KeyFile = "", "" }
	expired := func(s *syslogtest.Server, o *syslog.Options) {
		o.TLS.CertFile, o.TLS.KeyFile = s.ExpiredCertFile, s.ExpiredKeyFile
	}
	dead := porttest.Reserve(t)
	checkReports(t, []reportCase{
		{"rsyslog", true, open(syslogtest.StartRsyslog, nil)},
		{"rsyslog client certificate", false, open(syslogtest.StartRsyslog, without)},
		{"rsyslog client certificate expired", false, open(syslogtest.StartRsyslog, expired)},
		{"rsyslog unknown CA", false, open(syslogtest.StartRsyslog, func(_ *syslogtest.Server, o *syslog.Options) {
			o.TLS.CAFile = sinktest.NewAuthority(t).File
		})},
		{"rsyslog wrong host", false, open(syslogtest.StartRsyslog, func(_ *syslogtest.Server, o *syslog.Options) {
			o.TLS.ServerName = "logs.example.com"
		})},
		{"syslog-ng", true, open(syslogtest.StartSyslogNG, nil)},
		{"syslog-ng client certificate", false, open(syslogtest.StartSyslogNG, without)},
		{"syslog refused", false, func(*testing.T) (sinks.Sink, error) { return syslog.New(syslog.Options{Address: dead, Token: secret}) }},
		{"syslog silent", false, func(t *testing.T) (sinks.Sink, error) {
			return syslog.New(syslog.Options{Address: silentAddress(t), Token: secret, Timeout: 500 * time.Millisecond})
		}},
	})
}

func TestReportFile(t *testing.T) {
	t.Parallel()
	in := func(prepare func(dir string) error) func(*testing.T) (sinks.Sink, error) {
		return func(t *testing.T) (sinks.Sink, error) {
			dir := filepath.Join(t.TempDir(), "archive")
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			return file.New(file.Options{Path: dir})
		}
	}
	full := func(dir string) error {
		day := time.Now().UTC()
		err := os.Mkdir(dir, 0o700)
		for _, day := range []time.Time{day, day.AddDate(0, 0, 1)} { // midnight may pass
			err = errors.Join(err, os.Symlink("/dev/full", filepath.Join(dir, day.Format(time.DateOnly)+".ndjson")))
		}
		return err
	}
	checkReports(t, []reportCase{
		{"file", true, in(func(string) error { return nil })},
		{"file full", false, in(full)},
		{"file no folder", false, in(func(dir string) error { return os.WriteFile(dir, nil, 0o600) })},
	})
}

func TestReportElasticsearch(t *testing.T) {
	t.Parallel()
	node := nodes.Node(t, estest.Options{Security: true})
	if node.Username == "" {
		t.Fatal("the node has no security")
	}
	// with opens a drain with an API key of its own, after a record was written to the data stream.
	with := func(privileges []string, spoil func(t *testing.T, dataStream string), change func(*elasticsearch.Options)) func(t *testing.T) (sinks.Sink, error) {
		return func(t *testing.T) (sinks.Sink, error) {
			dataStream := node.DataStream(t)
			name, template := elasticsearch.IndexTemplate(dataStream)
			node.Do(t, http.MethodPut, "/_index_template/"+name, json.RawMessage(template))
			node.Do(t, http.MethodPost, "/"+dataStream+"/_doc", map[string]any{"@timestamp": time.Now()}) // makes the data stream
			if spoil != nil {
				spoil(t, dataStream)
			}
			key := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{dataStream}, "privileges": privileges}}})
			o := elasticsearch.Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key}
			if change != nil {
				change(&o)
			}
			return elasticsearch.New(o)
		}
	}
	least := []string{"create_doc", "auto_configure"}
	dead := porttest.Reserve(t)
	checkReports(t, []reportCase{
		{"elasticsearch", true, with(least, nil, nil)},
		{"elasticsearch found", true, with(append(slices.Clone(least), "read", "view_index_metadata"), nil, nil)},
		{"elasticsearch mapping", true, func(t *testing.T) (sinks.Sink, error) {
			dataStream := node.DataStream(t)
			node.Do(t, http.MethodPut, "/_index_template/ttydrain-"+dataStream, map[string]any{
				"index_patterns": []string{dataStream}, "priority": 600, "data_stream": map[string]any{}})
			node.Do(t, http.MethodPost, "/"+dataStream+"/_doc", map[string]any{"@timestamp": time.Now(), "app": "web", "bytes": 1.5})
			key := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{dataStream}, "privileges": append(slices.Clone(least), "view_index_metadata")}}})
			return elasticsearch.New(elasticsearch.Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key})
		}},
		{"elasticsearch one of two", true, with([]string{"create_doc"}, nil, func(o *elasticsearch.Options) { o.URLs = append([]string{"http://" + dead}, o.URLs...) })},
		{"elasticsearch privilege", false, with([]string{"read", "auto_configure"}, nil, nil)},
		{"elasticsearch key", false, with(least, nil, func(o *elasticsearch.Options) {
			o.APIKey = base64.StdEncoding.EncodeToString([]byte(secret))
		})},
		{"elasticsearch elsewhere", true, func(t *testing.T) (sinks.Sink, error) {
			dataStream, other := node.DataStream(t), node.DataStream(t)
			for _, d := range []string{dataStream, other} {
				name, template := elasticsearch.IndexTemplate(d)
				node.Do(t, http.MethodPut, "/_index_template/"+name, json.RawMessage(template))
			}
			node.Do(t, http.MethodPost, "/"+dataStream+"/_doc", map[string]any{"@timestamp": time.Now()})
			node.Do(t, http.MethodPut, "/_ingest/pipeline/"+other, map[string]any{"processors": []any{
				map[string]any{"set": map[string]any{"field": "_index", "value": other}}}})
			key := node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{dataStream, other}, "privileges": append(slices.Clone(least), "read")}}})
			return elasticsearch.New(elasticsearch.Options{URLs: []string{node.URL}, DataStream: dataStream, APIKey: key, Pipeline: other})
		}},
		{"elasticsearch pipeline", false, with(least, nil, func(o *elasticsearch.Options) { o.Pipeline = "absent" })},
		{"elasticsearch closed", false, with(least, func(t *testing.T, dataStream string) {
			var found map[string]any
			if err := json.Unmarshal(node.Do(t, http.MethodGet, "/"+dataStream+"/_settings", nil), &found); err != nil || len(found) != 1 {
				t.Fatalf("the indices of the data stream are %v, %v", found, err)
			}
			for index := range found {
				node.Do(t, http.MethodPost, "/"+index+"/_close", nil)
			}
		}, nil)},
		{"elasticsearch blocked", false, with(least, func(t *testing.T, dataStream string) {
			node.Do(t, http.MethodPut, "/"+dataStream+"/_settings", map[string]any{"index.blocks.write": true})
		}, nil)},
	})
}

// TestReportLookup looks up a name of which this machine may know several addresses.
func TestReportLookup(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	drain := drain.Drain{Name: "siem", Open: func() (sinks.Sink, error) {
		return syslog.New(syslog.Options{Address: "localhost:" + port, Timeout: 500 * time.Millisecond})
	}}
	steps := drain.Test(t.Context(), nil).Steps
	if dns := steps[0]; dns.Result != probe.ResultOK || !strings.HasPrefix(dns.Facts[0], "localhost is ") || !strings.Contains(dns.Facts[0], "127.0.0.1") {
		t.Errorf("the name is looked up so: %+v", dns)
	}
	if tcp := steps[1]; tcp.Result != probe.ResultOK || !slices.Contains(tcp.Facts, "connected to "+l.Addr().String()) {
		t.Errorf("the connection is made so: %+v", tcp)
	}
}

// TestPrintReport checks the form of the table, and that text from a drain cannot harm a terminal.
func TestPrintReport(t *testing.T) {
	day := time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)
	var printed bytes.Buffer
	if err := printReport(&printed, &drain.Report{
		Drain: "siem", OK: true, Operation: "test-abc", Notes: []string{"the drain is paused"},
		Steps: []probe.Step{
			{Name: probe.DNS, Peer: "logs.example.com:443", Result: probe.ResultOK, Milliseconds: 12.34, Facts: []string{"logs.example.com is 192.0.2.1"}},
			{Name: probe.TLS, Peer: "logs.example.com:443", Result: probe.ResultWarning, Milliseconds: 1, Facts: []string{"TLS\t1.3"},
				Certificates: []probe.Certificate{{Subject: "CN=a", Issuer: "CN=b", NotBefore: day, NotAfter: day.AddDate(0, 0, 9), DaysLeft: 8}},
				Problem:      "it ends", Do: "renew it"},
			{Name: probe.Authentication, Peer: "logs.example.com:443", Result: probe.ResultNotTried},
			{Name: probe.Acceptance, Result: probe.ResultFailed, Problem: "no"},
		},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `drain siem: accepted the test record of operation_id test-abc
  STEP                  RESULT       MS    WHAT
  logs.example.com:443
  DNS                   ✓ ok         12.3  logs.example.com is 192.0.2.1
  TLS                   ! warning    1.0   TLS 1.3
                                           certificate: CN=a, signed by CN=b, 2026-03-14 to 2026-03-23, 8 days left
                                           problem: it ends [E605]
                                           do: renew it
  authentication        - not tried
  acceptance            ✗ failed           problem: no [E607]
  note: the drain is paused
`
	if got := printed.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
