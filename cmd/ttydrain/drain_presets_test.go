package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

var updatePresets = flag.Bool("update-presets", false, "write the golden files of presets that have none yet")

// open opens the sink of a configuration, as serve does.
func (p httpsPreset) open(t *testing.T, address, caFile string) sinks.Sink {
	t.Helper()
	return openDrain(t, presetDrain(t, fmt.Sprintf(p.settings, address), caFile))
}

// presetDrain returns the drain of a configuration with that drain only. settings are added to its
// entry.
func presetDrain(t *testing.T, settings, caFile string) config.Drain {
	t.Helper()
	key, err := filepath.Abs("../../pipeline/config/testdata/keys/ada.pub")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ttydrain.yaml")
	text := fmt.Appendf(nil, `
user_document: {issuer: https://auth.example.com}
users: [{id: u-1, name: Ada Lovelace, email: ada@example.com, authorized_keys: [%q], apps: [web]}]
stacks: [{name: default}]
apps: [{name: web, stack: default, command: [/bin/bash]}]
drains: [{name: preset, ca_file: %q, %s}]
`, key, caFile, settings)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c.Drains[0]
}

func openDrain(t *testing.T, d config.Drain) sinks.Sink {
	t.Helper()
	sink, err := openSink(d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func TestHTTPSPresetConformance(t *testing.T) {
	for _, preset := range httpsPresets {
		t.Run(preset.name, func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T) sinktest.Target {
				p := newProvider(t, preset)
				proxy := sinktest.NewProxy(t, p.server.Listener.Addr().String())
				return sinktest.Target{Sink: preset.open(t, proxy.Address(), p.authority.File), Proxy: proxy, Received: p.received, Bytes: true, Concurrent: true}
			})
		})
	}
}

// presetRecords are from a year in which no record is too old.
func presetRecords() []sinks.Entry {
	operation := &schema.Operation{ID: "1041", Stack: "default", App: "web", AppID: "7", Service: "web-ssh", Layer: "app",
		Host: "gateway-1", Container: "s-1041", User: schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
		UserDocument: "eyJhbGciOiJFUzI1NiJ9.eyJpZCI6InUtMSJ9.c2ln"}
	yes, status, total, lost := true, 0, uint64(4124), uint64(4096)
	records := []schema.Record{
		{Event: schema.EventStart, Text: []byte("session 1041 started"), Detail: &schema.Detail{Interactive: &yes, Width: 80, Height: 24}},
		{Log: []byte("bad \xff \x1b[31m\"red\"\x1b[0m\r\n"), Text: []byte("bad \ufffd \"red\""), Timing: []byte("0:24")},
		{Event: schema.EventGap, Offset: 24, Text: []byte("4096 bytes are missing"), Detail: &schema.Detail{Bytes: &lost, Reason: "the stream was full"}},
		{Event: schema.EventEnd, Offset: 4120, Text: []byte("session ended: exit status 0"), Detail: &schema.Detail{
			ExitStatus: &status, Reason: "exit", Bytes: &total, Signature: "eyJ.e30.c2ln"}},
	}
	at := time.Date(2200, 1, 2, 3, 4, 5, 678901234, time.UTC).UnixNano()
	entries := make([]sinks.Entry, len(records))
	for i := range records {
		records[i].Sequence, records[i].Time = uint64(i+1), at+int64(i)
		entries[i] = sinks.Entry{Operation: operation, Record: &records[i]}
	}
	return entries
}

// presetGolden compares with the file of a preset, which is never overwritten.
func presetGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "presets", name+".golden")
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && *updatePresets {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", file, got, want)
	}
}

// TestHTTPSPresetGolden compares the whole request; a compressed body is decompressed.
func TestHTTPSPresetGolden(t *testing.T) {
	for _, preset := range httpsPresets {
		t.Run(preset.name, func(t *testing.T) {
			p := newProvider(t, preset)
			sink := preset.open(t, p.server.Listener.Addr().String(), p.authority.File)
			defer sink.Close()
			if err := sink.Write(t.Context(), presetRecords()); err != nil {
				t.Fatal(err)
			}
			p.received(t, len(presetRecords()))
			var got bytes.Buffer
			for _, r := range p.requests {
				fmt.Fprintf(&got, "POST %s\n", r.path)
				r.header.Del("Content-Length")
				if !strings.HasPrefix(r.header.Get("User-Agent"), "ttydrain/") {
					t.Errorf("User-Agent: %s", r.header.Get("User-Agent"))
				}
				r.header.Set("User-Agent", "ttydrain/VERSION")
				for _, name := range slices.Sorted(maps.Keys(r.header)) {
					fmt.Fprintf(&got, "%s: %s\n", name, strings.Join(r.header[name], ", "))
				}
				fmt.Fprintf(&got, "\n%s\n", r.body)
			}
			presetGolden(t, preset.name, got.Bytes())
		})
	}
}

// TestSyslogPresetGolden compares the bytes on the wire.
func TestSyslogPresetGolden(t *testing.T) {
	for name, settings := range map[string]string{
		"papertrail":       `type: papertrail, address: "%s"`,
		"papertrail-exact": `type: papertrail, address: "%s", exact: true`,
		"solarwinds":       `type: solarwinds, address: "%s", token: hunter2-abcDEF_012`,
	} {
		t.Run(name, func(t *testing.T) {
			authority := sinktest.NewAuthority(t)
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t, authority)}})
			if err != nil {
				t.Fatal(err)
			}
			lines := make(chan []byte, 1)
			go func() { // ends when it has a line for each record, or with the listener
				defer close(lines)
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				var all []byte
				for r := bufio.NewReader(conn); bytes.Count(all, []byte("\n")) < len(presetRecords()); {
					line, err := r.ReadBytes('\n')
					if all = append(all, line...); err != nil {
						break
					}
				}
				lines <- all
				io.Copy(io.Discard, conn)
			}()
			defer listener.Close()
			sink := openDrain(t, presetDrain(t, fmt.Sprintf(settings, listener.Addr()), authority.File))
			defer sink.Close()
			if err := sink.Write(t.Context(), presetRecords()); err != nil {
				t.Fatal(err)
			}
			presetGolden(t, name, <-lines)
		})
	}
}

// TestPresetLimits: many records are sent in requests of the largest permitted size, and a record
// that is too large on its own is rejected or marked.
func TestPresetLimits(t *testing.T) {
	t.Parallel()
	for _, preset := range httpsPresets {
		t.Run(preset.name, func(t *testing.T) {
			p := newProvider(t, preset)
			sink := preset.open(t, p.server.Listener.Addr().String(), p.authority.File)
			defer sink.Close()
			const small, large = 2500, 100
			batch := make([]sinks.Entry, small+large)
			text := bytes.Repeat([]byte("\x01\xff"), 4<<10)
			for i := range batch {
				record := *presetRecords()[1].Record
				record.Sequence = uint64(i + 1)
				if i >= small {
					record.Log, record.Text = text, bytes.Repeat([]byte("\ufffd"), 8<<10)
				}
				batch[i] = sinks.Entry{Operation: presetRecords()[0].Operation, Record: &record}
			}
			if err := sink.Write(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			p.received(t, len(batch))
			total, records := 0, 0
			for _, r := range p.requests {
				total, records = total+len(r.body), records+r.count
			}
			if records != len(batch) {
				t.Errorf("%d records, want %d", records, len(batch))
			}
			if most := 2*total/min(preset.maxBytes, 256<<10) + 4; len(p.requests) > most {
				t.Errorf("%d requests for %d bytes, want at most %d", len(p.requests), total, most)
			}
		})
	}
}

func TestDatadogLongLog(t *testing.T) {
	preset := httpsPresets[0]
	p := newProvider(t, preset)
	sink := preset.open(t, p.server.Listener.Addr().String(), p.authority.File)
	defer sink.Close()
	batch := presetRecords()
	start := *batch[0].Record
	start.Detail = &schema.Detail{Command: strings.Repeat("\x01", 200<<10)}
	batch[0].Record = &start
	err := sink.Write(t.Context(), batch[:1])
	if e := sinks.AsError(err); err == nil || e.Verdict != sinks.TooLarge || !strings.Contains(e.Message(), "the drain takes 1000000 for one") {
		t.Fatalf("%v", err)
	}
	if err := sink.Write(t.Context(), batch[1:]); err != nil {
		t.Fatal(err)
	}
	if got := p.received(t, 3); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

func TestLogDNALongLine(t *testing.T) {
	preset := httpsPresets[2]
	p := newProvider(t, preset)
	sink := preset.open(t, p.server.Listener.Addr().String(), p.authority.File)
	defer sink.Close()
	record := *presetRecords()[1].Record
	record.Text, record.Log = bytes.Repeat([]byte("\ufffd"), 16<<10), bytes.Repeat([]byte{0xff}, 16<<10)
	if err := sink.Write(t.Context(), []sinks.Entry{{Operation: presetRecords()[0].Operation, Record: &record}}); err != nil {
		t.Fatal(err)
	}
	if got := p.received(t, 1); !bytes.Equal(got[0].Log, record.Log) || !strings.HasSuffix(got[0].Text, "…") {
		t.Errorf("%d bytes of the log, text of %d", len(got[0].Log), len(got[0].Text))
	}
	var body struct {
		Lines []struct {
			Line string
			Cut  bool `json:"message_cut"`
		}
	}
	if err := json.Unmarshal(p.requests[0].body, &body); err != nil || !body.Lines[0].Cut || len(body.Lines[0].Line) > 32_000 || len(body.Lines[0].Line) < 31_990 {
		t.Errorf("%v: %v, %d bytes", err, body.Lines[0].Cut, len(body.Lines[0].Line))
	}
}

// TestPresetSecrets: no key, no token and no secret URL is in an error, whatever happens.
func TestPresetSecrets(t *testing.T) {
	var settings []string
	for _, preset := range httpsPresets {
		settings = append(settings, preset.settings)
	}
	settings = append(settings, `type: solarwinds, address: "%s", token: hunter2`)
	for _, each := range settings {
		name, _, _ := strings.Cut(each, ",")
		t.Run(name, func(t *testing.T) {
			authority := sinktest.NewAuthority(t)
			addresses := []string{porttest.Reserve(t), "host.invalid:443"}
			for _, status := range []int{301, 400, 401, 403, 404, 410, 413, 429, 500} {
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", r.URL.String())
					w.Header().Set("Retry-After", r.Header.Get("Dd-Api-Key"))
					w.WriteHeader(status)
					fmt.Fprintln(w, r.URL, r.Header)
				}))
				server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, authority)}}
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				server.StartTLS()
				defer server.Close()
				addresses = append(addresses, server.Listener.Addr().String())
			}
			for _, address := range addresses {
				d := presetDrain(t, fmt.Sprintf(each, address), authority.File)
				sink := openDrain(t, d)
				defer sink.Close()
				err := sink.Write(t.Context(), presetRecords()[:1])
				if err == nil && d.HTTPS != nil {
					t.Errorf("no error from %s", address)
				}
				for _, printed := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", sinks.AsError(err)), fmt.Sprint(sink.Probe(t.Context())), fmt.Sprintf("%+v", d), fmt.Sprintf("%#v", d)} {
					if strings.Contains(printed, secretOfPreset) {
						t.Errorf("the secret is printed: %s", printed)
					}
				}
			}
			if _, err := openSink(config.Drain{HTTPS: &config.HTTPS{URL: config.NewSecret("https://hunter2:x y/%zz")}}, slog.Default()); err == nil || strings.Contains(err.Error(), secretOfPreset) {
				t.Errorf("%v", err)
			}
		})
	}
}
