package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

const patience = 2 * time.Minute

func testKey(t testing.TB) *enrich.Key {
	t.Helper()
	k, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var began = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

// shown is what a session shows, piece by piece: a prompt with a mistake corrected, a progress bar, a screen program, bytes that are
// no UTF-8, JSON and structured data that are none of ttydrain's.
var shown = []string{
	"$ ", "l", "z", "\b \b", "s -l\r\n", "\x1b[01;34mbin\x1b[0m  run.sh\r\n", "10%\r50%\r", "100%\r\n", "gr\u00fc\u00df \u65e5", "\u672c\r\n", "bad \xff\xfe\xc3( bytes\r\n",
	"\x1b[?1049h\x1b[2J\x1b[1;1H~ VIM\x1b[2;1H~\x1b[?1049l", "{\"operation_id\":\"7\",\"sequence\":3,\"event\":\"end\"}\r\n",
	"[session@32473 operation_id=\"7\" sequence=\"3\"] operation_id=7 x\r\n", "\r\n", "Password: ", "\r\n", "a\tb\\\"]\r\n", "$ exit\r\n",
}

// session is a session as the enricher makes it, lines times what is shown; the segments as they are on LOGS. Without an
// end it goes on.
func session(t testing.TB, key *enrich.Key, id string, lines int, ended bool) (*schema.Operation, []schema.Record, [][]byte) {
	t.Helper()
	user := schema.User{ID: "u-" + id, Name: "Ada " + id, Email: "ada" + id + "@example.com"}
	document, err := key.Mint("https://auth.example.com", user, began)
	if err != nil {
		t.Fatal(err)
	}
	op := &schema.Operation{ID: id, Stack: "default", App: "web", AppID: "17", Service: "web-cmd", Layer: "app", Host: "gateway-1",
		Container: "session-" + id, User: user, UserDocument: document, Command: "bash -l", Interactive: true, Width: 80, Height: 24, Started: began}
	transcript, err := enrich.New(op, key, began)
	if err != nil {
		t.Fatal(err)
	}
	at := began
	next := func() time.Time { at = at.Add(1234567 * time.Nanosecond); return at }
	start, err := schema.StartFrame(next(), op)
	if err != nil {
		t.Fatal(err)
	}
	chunk := &schema.Chunk{Frames: []schema.Frame{start}}
	add := func() {
		if err := transcript.Add(chunk, at); err != nil {
			t.Fatal(err)
		}
		chunk.Ordinal++
		chunk.Offset, chunk.Events = transcript.Received().Bytes, transcript.Received().Events
		chunk.Frames = nil
	}
	detail := func(kind schema.FrameKind, d schema.Detail) {
		f, err := schema.DetailFrame(kind, next(), &d)
		if err != nil {
			t.Fatal(err)
		}
		chunk.Frames = append(chunk.Frames, f)
	}
	for i := range lines {
		piece := shown[i%len(shown)]
		kind := schema.FrameStdout
		if i%7 == 6 {
			kind = schema.FrameStderr
		}
		chunk.Frames = append(chunk.Frames, schema.Frame{Kind: kind, Time: next().UnixNano(), Payload: fmt.Appendf(nil, "%s%s", piece, map[bool]string{true: id}[i%5 == 0])})
		if i%11 == 3 {
			detail(schema.FrameResize, schema.Detail{Width: 100 + i, Height: 40})
		}
		add()
	}
	lost := uint64(9)
	detail(schema.FrameGap, schema.Detail{Bytes: &lost, Reason: "the stream was full"})
	status := 0
	if ended {
		detail(schema.FrameEnd, schema.Detail{ExitStatus: &status, Reason: "exit"})
	}
	add()
	var records []schema.Record
	var segments [][]byte
	var d schema.Decoder
	for transcript.Ready() {
		s, err := transcript.Take()
		if err != nil {
			t.Fatal(err)
		}
		segment, err := d.Segment(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, segment.Records...)
		segments = append(segments, s.Data)
	}
	return op, records, segments
}

// A form is one in which a drain has a copy.
type form struct {
	name string
	// write gives the units of a copy, of one record each, and how a copy is made of them.
	write func(t testing.TB, entries []sinks.Entry) [][]byte
	join  func(units [][]byte) []byte
	// lost is what a record has not in this form.
	lost Lost
}

func forms() []form {
	lines := func(units [][]byte) []byte { return append(bytes.Join(units, []byte("\n")), '\n') }
	array := func(units [][]byte) []byte { return slices3("[", bytes.Join(units, []byte(",")), "]") }
	datadog := &https.Shape{Message: "message", Milliseconds: "timestamp", Level: "status", Host: "hostname",
		Constant: map[string]string{"ddsource": "ttydrain"}, MaxAge: 17 * time.Hour}
	mezmo := &https.Shape{Message: "line", MaxMessageBytes: 32_000, Milliseconds: "timestamp", Level: "level", App: "app", Record: "meta"}
	return []form{
		{"ndjson", jsonUnits(nil), lines, LostTextDigest},
		{"array", jsonUnits(nil), array, LostTextDigest},
		{"concatenated", jsonUnits(nil), func(u [][]byte) []byte { return bytes.Join(u, nil) }, LostTextDigest},
		{"gzip", jsonUnits(nil), func(u [][]byte) []byte { return gzipped(lines(u)) }, LostTextDigest},
		{"zstd", jsonUnits(nil), func(u [][]byte) []byte { return zstandard(lines(u)) }, LostTextDigest},
		{"datadog", jsonUnits(datadog), array, LostTextDigest},
		{"mezmo", jsonUnits(mezmo), func(u [][]byte) []byte { return slices3(`{"lines":[`, bytes.Join(u, []byte(",")), "]}\n") }, LostTextDigest},
		{"elasticsearch export", jsonUnits(nil), func(u [][]byte) []byte {
			return slices3(`{"_index":"i","_id":"x","_source":`, bytes.Join(u, []byte("}\n{\"_source\" : ")), "}\n")
		}, LostTextDigest},
		{"syslog", syslogUnits(syslog.Options{Token: "tok3n"}), lines, LostLog | LostTiming},
		{"syslog exact", syslogUnits(syslog.Options{Exact: true}), lines, 0},
		{"solarwinds", syslogUnits(syslog.Options{Exact: true, Token: "tok3n", TokenEnterprise: 41058, Framing: syslog.Newline}), lines, 0},
		{"syslog counted", syslogUnits(syslog.Options{Exact: true}), func(u [][]byte) []byte {
			var all []byte
			for _, m := range u {
				all = fmt.Appendf(all, "%d %s", len(m), m)
			}
			return all
		}, 0},
		{"syslog headless", syslogUnits(syslog.Options{Exact: true}), func(u [][]byte) []byte {
			var all []byte
			for i, m := range u {
				at := bytes.Index(m, []byte("[session"))
				all = fmt.Appendf(all, "2026-03-01T09:30:00.%06dZ gateway-1 %s\nMar  1 09:30:00 gateway-1 sshd[42]: another program\n", i, m[at:])
			}
			return all
		}, 0},
	}
}

func slices3(before string, middle []byte, after string) []byte {
	return append(append([]byte(before), middle...), after...)
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func zstandard(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

// jsonUnits are the objects that an HTTPS drain is sent, by the sink itself.
func jsonUnits(shape *https.Shape) func(testing.TB, []sinks.Entry) [][]byte {
	return func(t testing.TB, entries []sinks.Entry) [][]byte {
		t.Helper()
		var mu sync.Mutex
		var units [][]byte
		server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			units = append(units, bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))...)
		}))
		defer server.Close()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		sink, err := https.New(https.Options{URL: server.URL, Format: https.NDJSON, Shape: shape, TLS: sinks.TLS{CAFile: ca}})
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := sink.Write(ctx, entries); err != nil {
			t.Fatal(err)
		}
		if len(units) != len(entries) {
			t.Fatalf("%d entries are %d objects", len(entries), len(units))
		}
		return units
	}
}

// syslogUnits are the messages that a syslog drain is sent, by the sink itself.
func syslogUnits(o syslog.Options) func(testing.TB, []sinks.Entry) [][]byte {
	return func(t testing.TB, entries []sinks.Entry) [][]byte {
		t.Helper()
		units := make(chan []byte, len(entries))
		r, err := receive.New(receive.Options{Syslog: "127.0.0.1:0", Dir: t.TempDir(), MaxMessage: 4 << 20,
			Handle: func(r receive.Received) { units <- r.Raw }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		done := make(chan error, 1)
		serving, stop := context.WithCancel(ctx)
		go func() { done <- r.Serve(serving) }() // ends with stop
		defer func() { stop(); <-done }()
		o.Address, o.TLS = r.SyslogAddr().String(), sinks.TLS{CAFile: r.CAFile()}
		sink, err := syslog.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		if err := sink.Write(ctx, entries); err != nil {
			t.Fatal(err)
		}
		var all [][]byte
		for range entries {
			select {
			case u := <-units:
				all = append(all, u)
			case <-ctx.Done():
				t.Fatal("the receiver does not have all")
			}
		}
		return all
	}
}

func entriesOf(op *schema.Operation, records []schema.Record) []sinks.Entry {
	var entries []sinks.Entry
	for i := range records {
		entries = append(entries, sinks.Entry{Operation: op, Record: &records[i]})
	}
	return entries
}

// inMemory is a copy that is a text.
type inMemory []byte

func (m inMemory) Grouped() bool { return false }

func (m inMemory) Read(ctx context.Context, v Visitor) error {
	return (&Files{Names: []string{"-"}, Stdin: bytes.NewReader(m)}).Read(ctx, v)
}

// framed is what the admin address answers.
func framed(segments [][]byte, end string) []byte {
	var all []byte
	for i, s := range segments {
		all = binary.AppendUvarint(all, uint64(i)+1)
		all = binary.AppendUvarint(all, uint64(len(s)))
		all = append(all, s...)
	}
	all = append(all, 0)
	return append(binary.AppendUvarint(all, uint64(len(end))), end...)
}

// streamed is a copy of the stream's segments, as the admin address answers.
func streamed(t testing.TB, body []byte) *Stream {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	t.Cleanup(server.Close)
	return &Stream{Address: strings.TrimPrefix(server.URL, "http://")}
}
