// Package replaytest creates copies of sessions in the forms in which drains hold them. The
// sessions are produced by package enrich, and the copies by the sinks.
package replaytest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/file"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

const patience = 2 * time.Minute

// Form is a form of a copy.
type Form struct {
	Name string
	// Write returns the units of a copy, one per record.
	Write func(t testing.TB, entries []sinks.Entry) [][]byte
	// Join concatenates units to a copy.
	Join func(units [][]byte) []byte
	// Bytes and TextDigests report whether the form has the exact bytes and the text digests; JSON
	// distinguishes JSON from syslog.
	Bytes, TextDigests, JSON bool
}

// Forms returns the forms in which ttydrain's sinks write and their receivers store records.
func Forms() []Form {
	lines := func(units [][]byte) []byte { return append(bytes.Join(units, []byte("\n")), '\n') }
	array := func(units [][]byte) []byte { return slices3("[", bytes.Join(units, []byte(",")), "]") }
	datadog := &https.Shape{Message: "message", Milliseconds: "timestamp", Level: "status", Host: "hostname",
		Constant: map[string]string{"ddsource": "ttydrain"}, MaxAge: 17 * time.Hour}
	mezmo := &https.Shape{Message: "line", MaxMessageBytes: 32_000, Milliseconds: "timestamp", Level: "level", App: "app", Record: "meta"}
	return []Form{
		{"ndjson", jsonUnits(nil), lines, true, false, true},
		{"file", fileUnits, lines, true, false, true},
		{"array", jsonUnits(nil), array, true, false, true},
		{"concatenated", jsonUnits(nil), func(u [][]byte) []byte { return bytes.Join(u, nil) }, true, false, true},
		{"gzip", jsonUnits(nil), func(u [][]byte) []byte { return gzipped(lines(u)) }, true, false, true},
		{"zstd", jsonUnits(nil), func(u [][]byte) []byte { return zstandard(lines(u)) }, true, false, true},
		{"datadog", jsonUnits(datadog), array, true, false, true},
		{"mezmo", jsonUnits(mezmo), func(u [][]byte) []byte { return slices3(`{"lines":[`, bytes.Join(u, []byte(",")), "]}\n") }, true, false, true},
		{"elasticsearch export", jsonUnits(nil), func(u [][]byte) []byte {
			return slices3(`{"_index":"i","_id":"x","_source":`, bytes.Join(u, []byte("}\n{\"_source\" : ")), "}\n")
		}, true, false, true},
		{"syslog", syslogUnits(syslog.Options{Token: "tok3n"}), lines, false, true, false},
		{"syslog exact", syslogUnits(syslog.Options{Exact: true}), lines, true, true, false},
		{"solarwinds", syslogUnits(syslog.Options{Exact: true, Token: "tok3n", TokenEnterprise: 41058, Framing: syslog.Newline}), lines, true, true, false},
		{"syslog counted", syslogUnits(syslog.Options{Exact: true}), func(u [][]byte) []byte {
			var all []byte
			for _, m := range u {
				all = fmt.Appendf(all, "%d %s", len(m), m)
			}
			return all
		}, true, true, false},
		{"syslog in JSON", syslogUnits(syslog.Options{Exact: true}), func(u [][]byte) []byte {
			var all []byte
			for _, m := range u {
				raw, _ := json.Marshal(string(m)) // encoding a string never fails
				all = fmt.Appendf(all, "{\"raw\":%s,\"severity\":6}\n", raw)
			}
			return all
		}, true, true, false},
		{"syslog with another header", syslogUnits(syslog.Options{Exact: true}), withOtherHeader, true, true, false},
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

// jsonUnits returns the objects that the HTTPS sink sends.
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

// fileUnits returns the lines that the file sink writes.
func fileUnits(t testing.TB, entries []sinks.Entry) [][]byte {
	t.Helper()
	dir := t.TempDir()
	sink, err := file.New(file.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if err := sink.Write(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil || len(names) != 1 {
		t.Fatalf("the files are %q, %v", names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

// PartedForms returns syslog forms with messages so short that many records are divided into parts.
// A unit has all parts of one record, one per line.
func PartedForms() []Form {
	lines := func(units [][]byte) []byte { return append(bytes.Join(units, []byte("\n")), '\n') }
	units := func(o syslog.Options) func(testing.TB, []sinks.Entry) [][]byte {
		o.MaxMessageBytes = syslog.MinMaxMessageBytes
		return func(t testing.TB, entries []sinks.Entry) (units [][]byte) {
			t.Helper()
			for _, m := range Messages(t, o, entries) {
				if n := len(units) - 1; bytes.Contains(m, []byte(` part="`)) && !bytes.Contains(m, []byte(` part="1/`)) {
					units[n] = append(append(units[n], '\n'), m...)
				} else {
					units = append(units, m)
				}
			}
			if len(units) != len(entries) || !bytes.ContainsRune(bytes.Join(units, nil), '\n') {
				t.Fatalf("%d entries are %d records, or none is in parts", len(entries), len(units))
			}
			return units
		}
	}
	return []Form{
		{"syslog in parts", units(syslog.Options{Token: "tok3n"}), lines, false, true, false},
		{"syslog exact in parts", units(syslog.Options{Exact: true}), lines, true, true, false},
		{"syslog in parts, with another header", units(syslog.Options{Exact: true}), func(units [][]byte) []byte {
			return withOtherHeader(bytes.Split(bytes.Join(units, []byte("\n")), []byte("\n")))
		}, true, true, false},
	}
}

// withOtherHeader returns messages in the form of a server that replaces their header.
func withOtherHeader(messages [][]byte) (all []byte) {
	for i, m := range messages {
		at := max(bytes.Index(m, []byte("[session")), 0)
		all = fmt.Appendf(all, "2026-03-01T09:30:00.%06dZ gateway-1 %s\nMar  1 09:30:00 gateway-1 sshd[42]: another program\n", i, m[at:])
	}
	return all
}

// syslogUnits returns the messages that the syslog sink sends, one per record.
func syslogUnits(o syslog.Options) func(testing.TB, []sinks.Entry) [][]byte {
	o.MaxMessageBytes = syslog.MaxMaxMessageBytes
	return func(t testing.TB, entries []sinks.Entry) [][]byte {
		t.Helper()
		units := Messages(t, o, entries)
		if len(units) != len(entries) {
			t.Fatalf("%d entries are %d messages", len(entries), len(units))
		}
		return units
	}
}

// Messages returns the messages that the syslog sink sends.
func Messages(t testing.TB, o syslog.Options, entries []sinks.Entry) (messages [][]byte) {
	t.Helper()
	r, err := receive.New(receive.Options{Syslog: "127.0.0.1:0", Dir: t.TempDir(), MaxMessage: 4 << 20,
		Handle: func(r receive.Received) { messages = append(messages, r.Raw) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- r.Serve(serving) }() // ends with stop
	o.Address, o.TLS = r.SyslogAddr().String(), sinks.TLS{CAFile: r.CAFile()}
	sink, err := syslog.New(o)
	if err == nil {
		err = sink.Write(ctx, entries)
	}
	if err == nil {
		err = sink.Close()
	}
	stop() // the receiver reads everything that was sent before it stops
	if served := <-done; err != nil || served != nil {
		t.Fatal(err, served)
	}
	return messages
}
