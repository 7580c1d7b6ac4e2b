package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// A destination is the server of a drain.
type destination struct {
	name  string
	entry string // of the configuration
	exact bool   // the drain gets the exact bytes
	// dataStream is the data stream of an Elasticsearch drain.
	dataStream string
	// arrived returns all records so far, in the order of their arrival if the server has one. It
	// waits for want records, if the server has received them and is still writing to its file.
	arrived func(t testing.TB, want int) []record
	// of is arrived for one operation; nil if arrived costs no more.
	of func(operation string) []record
	// ends returns the operations whose ends have arrived, and count the number of records that have,
	// or more.
	ends  func(t testing.TB) map[string]bool
	count func(t testing.TB) int
	// url is the address of the data stream of an Elasticsearch drain, with the API key that reader
	// makes; "" for other drains.
	url    string
	reader func(t testing.TB) (key string)
}

// awaitEnds waits for the ends of operations, for as long as anything arrives.
func (d *destination) awaitEnds(t testing.TB, operations ...string) {
	t.Helper()
	told := 0
	awaitWhile(t, fmt.Sprintf("for the ends of %d operations at the drain %s", len(operations), d.name), func() bool {
		ended := d.ends(t)
		missing := slices.DeleteFunc(slices.Clone(operations), func(operation string) bool { return ended[operation] })
		if len(missing) != told && len(operations) > 1 {
			t.Logf("drain %s: no end of the operations %v", d.name, missing)
			told = len(missing)
		}
		return len(missing) == 0
	}, func() int { return d.count(t) })
}

// transcript waits for the end of an operation, and returns its transcript.
func (d *destination) transcript(t testing.TB, operation string) *transcript {
	t.Helper()
	d.awaitEnds(t, operation)
	if d.of != nil {
		return transcriptOf(t, d.name, d.of(operation), operation, d.exact)
	}
	return transcriptOf(t, d.name, d.arrived(t, 0), operation, d.exact)
}

func hasEnd(records []record, operation string) bool {
	return slices.ContainsFunc(records, func(r record) bool { return r.OperationID == operation && r.Event == "end" })
}

// An inbox is an HTTPS receiver in this process.
type inbox struct {
	mu       sync.Mutex // guards what follows
	received []receive.Received
	ended    map[string]bool // operations
}

func (b *inbox) handle(r receive.Received) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received = append(b.received, r)
	if r.Record.Event == "end" {
		if b.ended == nil {
			b.ended = make(map[string]bool)
		}
		b.ended[r.Record.OperationID] = true
	}
}

func (b *inbox) arrived(testing.TB, int) []record { return b.of("") }

// of returns the records of an operation; those of all for "".
func (b *inbox) of(operation string) (records []record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.received {
		// Copies only what is asked for: an inbox can have hundreds of megabytes.
		if r := &b.received[i]; operation == "" || r.Record.OperationID == operation {
			records = append(records, record{Record: r.Record, Exact: r.Record.Exact(), Whole: string(r.Raw)})
		}
	}
	return records
}

func (b *inbox) ends(testing.TB) map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.ended)
}

func (b *inbox) count(testing.TB) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.received)
}

// endsOf returns the operations whose ends are among records.
func endsOf(records []record) map[string]bool {
	ended := make(map[string]bool)
	for i := range records {
		if records[i].Event == "end" {
			ended[records[i].OperationID] = true
		}
	}
	return ended
}

// httpsDrain returns a drain to an HTTPS receiver, which is up until the test ends. settings are
// added to the entry.
func httpsDrain(t testing.TB, name, settings string) *destination {
	t.Helper()
	d, start := laterHTTPSDrain(t, name, "127.0.0.1:0", t.TempDir(), settings)
	start()
	return d
}

// laterHTTPSDrain is httpsDrain at an address without a listener until start is called. Its
// certificates exist from now on.
func laterHTTPSDrain(t testing.TB, name, address, dir, settings string) (d *destination, start func()) {
	t.Helper()
	b := new(inbox)
	options := receive.Options{HTTPS: address, Dir: dir, Token: "a-token", Handle: b.handle}
	d = &destination{name: name, exact: true, arrived: b.arrived, of: b.of, ends: b.ends, count: b.count}
	entry := func(address net.Addr) string {
		return fmt.Sprintf(`{name: %s, type: https, url: "https://%s/logs", ca_file: %q, headers: {Authorization: Bearer a-token}%s}`,
			name, address, filepath.Join(dir, "ca.pem"), settings)
	}
	if !strings.HasSuffix(address, ":0") { // a receiver at another address makes the certificates
		options := options
		options.HTTPS = "127.0.0.1:0"
		first, err := receive.New(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		at, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		d.entry = entry(at)
	}
	return d, func() {
		t.Helper()
		r, err := receive.New(options)
		if err != nil {
			t.Fatal(err)
		}
		d.entry = entry(r.HTTPSAddr())
		ctx, cancel := context.WithCancel(context.Background())
		var serving sync.WaitGroup
		serving.Go(func() { // ends with the test
			if err := r.Serve(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			cancel()
			serving.Wait()
		})
	}
}

// elasticsearchDrain returns a drain to a real node, with an API key that can only create documents
// in the data stream of the drain.
func elasticsearchDrain(t testing.TB, name string) *destination {
	t.Helper()
	return elasticsearchDrainAt(t, name, nodes.Node(t, estest.Options{Security: true}), "")
}

// elasticsearchDrainAt is elasticsearchDrain at a node with security. settings are added to the
// entry.
func elasticsearchDrainAt(t testing.TB, name string, node *estest.Node, settings string) *destination {
	t.Helper()
	stream := node.DataStream(t)
	template, body := elasticsearch.IndexTemplate(stream)
	node.Do(t, "PUT", "/_index_template/"+template, json.RawMessage(body))
	find := func(t testing.TB, query any) []record {
		t.Helper()
		var records []record
		for _, source := range node.Search(t, stream, query) {
			r := record{Whole: string(source)}
			if err := json.Unmarshal(source, &r.Record); err != nil {
				t.Fatal(err)
			}
			r.Exact = r.Record.Exact()
			records = append(records, r)
		}
		return records
	}
	return &destination{
		name: name, exact: true, dataStream: stream,
		entry: fmt.Sprintf(`{name: %s, type: elasticsearch, urls: [%s], data_stream: %s, api_key: %q, manage_template: false%s}`,
			name, node.URL, stream, node.APIKey(t, stream), settings),
		arrived: func(t testing.TB, _ int) []record { return find(t, nil) },
		ends: func(t testing.TB) map[string]bool {
			return endsOf(find(t, map[string]any{"term": map[string]any{"event": "end"}}))
		},
		count: func(t testing.TB) int { return node.Count(t, stream) },
		url:   node.URL + "/" + stream,
		reader: func(t testing.TB) string {
			return node.APIKeyWith(t, map[string]any{"index": []any{map[string]any{"names": []string{stream}, "privileges": []string{"read"}}}})
		},
	}
}

// syslogDrain returns a drain to a real syslog server over TLS with client certificates.
func syslogDrain(t testing.TB, name string, s *syslogtest.Server, exact bool) *destination {
	t.Helper()
	const token = "customer-token"
	arrived := func(t testing.TB, want int) []record {
		t.Helper()
		for n := want; ; {
			messages := s.Lines(t, n)
			var parts messageParts
			var records []record
			for _, m := range messages {
				if r, whole := parseMessage(t, name, token, &parts, m); whole {
					records = append(records, r)
				}
			}
			if len(records) >= want {
				return records
			}
			n = len(messages) + want - len(records)
		}
	}
	return &destination{
		name: name, exact: exact, arrived: arrived,
		entry: fmt.Sprintf(`{name: %s, type: syslog, address: %q, ca_file: %q, cert_file: %q, key_file: %q, token: %s, exact: %t}`,
			name, s.Address, s.CAFile, s.ClientCertFile, s.ClientKeyFile, token, exact),
		ends: func(t testing.TB) map[string]bool {
			ended := make(map[string]bool)
			for _, m := range s.Lines(t, 0) {
				if m.MsgID == "end" {
					ended[m.ProcID] = true
				}
			}
			return ended
		},
		count: func(t testing.TB) int { return len(s.Lines(t, 0)) },
	}
}

// messageParts joins the parts of records, and keeps their lines.
type messageParts struct {
	joiner syslogtest.Joiner
	lines  map[string]string // by operation and sequence
}

// add returns the message of a record with its lines once all of its parts are there, and nil
// before.
func (m *messageParts) add(raw string, p *syslogtest.Parsed) (whole *syslogtest.Parsed, lines string, err error) {
	session := p.Params["session@32473"]
	key := session["operation_id"] + " " + session["sequence"]
	if m.lines == nil {
		m.lines = make(map[string]string)
	}
	m.lines[key] += raw + "\n"
	if whole, err = m.joiner.Add(p); whole == nil {
		return nil, "", err
	}
	lines = strings.TrimSuffix(m.lines[key], "\n")
	delete(m.lines, key)
	return whole, lines, nil
}

// parseMessage returns the record of a syslog message that begins with a token, unless that is
// empty, and compares it with what the server parsed. It returns false for a part that is not the
// last one of a record.
func parseMessage(t testing.TB, drain, token string, parts *messageParts, m syslogtest.Message) (r record, whole bool) {
	t.Helper()
	p, err := syslogtest.Parse([]byte(m.Raw))
	if err != nil {
		t.Fatalf("drain %s: %v: %q", drain, err, m.Raw)
	}
	operation := p.Params["session@32473"]["operation_id"]
	if operation == "" || p.ProcID != operation || m.ProcID != operation || m.App != p.App || m.MsgID != p.MsgID {
		t.Fatalf("drain %s: the operation ID is not where it has to be: %+v", drain, m)
	}
	begin := strings.TrimPrefix(token+" operation_id="+operation+" ", " ")
	if !strings.HasPrefix(p.Text, begin) || !strings.HasPrefix(strings.TrimPrefix(m.Text, " "), begin) {
		t.Fatalf("drain %s: the message does not begin with token and operation ID: %q", drain, m.Text)
	}
	p, lines, err := parts.add(m.Raw, p)
	if err != nil {
		t.Fatalf("drain %s: %v: %q", drain, err, m.Raw)
	}
	if p == nil {
		return record{}, false
	}
	params, text := p.Params["session@32473"], strings.TrimPrefix(p.Text, begin)
	r = record{TextDigest: params["text_digest"], Whole: lines}
	r.Event, r.OperationID, r.Text = p.MsgID, operation, text
	r.Offset, r.Digest, r.Timing, r.Reason, r.Signature = params["offset"], params["digest"], params["timing"], params["reason"], params["signature"]
	r.Stream, r.Host, r.App = params["stream"], p.Hostname, p.App
	for name, into := range map[string]any{"sequence": &r.Sequence, "bytes": &r.Record.Bytes, "width": &r.Width, "height": &r.Height, "exit_status": &r.ExitStatus, "size": &r.Size, "input_bytes": &r.InputBytes} {
		if value, ok := params[name]; ok {
			if err := json.Unmarshal([]byte(value), into); err != nil {
				t.Fatalf("drain %s: %s is %q", drain, name, value)
			}
		}
	}
	r.Path, r.Direction, r.SHA256, r.InputSHA256 = params["path"], params["direction"], params["sha256"], params["input_sha256"]
	if r.Input, err = base64.StdEncoding.DecodeString(params["input_base64"]); err != nil {
		t.Fatalf("drain %s: input_base64: %v", drain, err)
	}
	if r.Exact, err = base64.StdEncoding.DecodeString(params["log_base64"]); err != nil {
		t.Fatalf("drain %s: log_base64: %v", drain, err)
	}
	return r, true
}

// allDrains returns one drain of each kind: JSON and compressed NDJSON over HTTPS, Elasticsearch,
// rsyslog with the exact bytes, and syslog-ng; the last three if their servers are installed.
func allDrains(t *testing.T) []*destination {
	t.Helper()
	return slices.Concat(
		[]*destination{httpsDrain(t, "json", ""), httpsDrain(t, "ndjson", ", format: ndjson, compression: gzip")},
		ifThere(t, "search", elasticsearchDrain),
		ifThere(t, "rsyslog", rsyslogDrain),
		ifThere(t, "syslog-ng", func(t testing.TB, name string) *destination {
			return syslogDrain(t, name, syslogtest.StartSyslogNG(t, syslogtest.Options{RequireClientCert: true}), false)
		}),
	)
}

// threeDrains returns one drain of each protocol, all with the exact bytes, the last two as in
// allDrains.
func threeDrains(t *testing.T) []*destination {
	t.Helper()
	return slices.Concat(
		[]*destination{httpsDrain(t, "https", ", format: ndjson")},
		ifThere(t, "search", elasticsearchDrain),
		ifThere(t, "rsyslog", rsyslogDrain),
	)
}

func rsyslogDrain(t testing.TB, name string) *destination {
	t.Helper()
	return syslogDrain(t, name, syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true}), true)
}

// ifThere makes a drain to a server. If the server is missing, and may be, the test goes on with
// the other drains, and a subtest with the name of the drain is skipped instead of the test.
func ifThere(t *testing.T, name string, make func(testing.TB, string) *destination) (drains []*destination) {
	t.Helper()
	s := &skipping{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(s) {
				panic(r)
			}
		}()
		drains = append(drains, make(s, name))
	}()
	if s.reason != "" {
		t.Run(name, func(t *testing.T) { t.Skip(s.reason) })
	}
	return drains
}

// A skipping is a test that does not end when it is skipped: it panics with itself.
type skipping struct {
	testing.TB
	reason string
}

func (s *skipping) Skipf(format string, args ...any) {
	s.reason = fmt.Sprintf(format, args...)
	panic(s)
}

func entries(drains []*destination) siteOption {
	var list []string
	for _, d := range drains {
		list = append(list, d.entry)
	}
	return withDrains(list...)
}
