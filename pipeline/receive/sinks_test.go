package receive

import (
	"bytes"
	"context"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// TestSinks checks that the receiver accepts what ttydrain's sinks write, in every format,
// unchanged.
func TestSinks(t *testing.T) {
	b := start(t, Options{Token: "t0ken", MaxMessage: 4 << 20})
	trust := sinks.TLS{CAFile: b.CAFile()}
	openHTTPS := func(format https.Format, gzip bool) func() (sinks.Sink, error) {
		return func() (sinks.Sink, error) {
			return https.New(https.Options{URL: b.url(), Format: format, Gzip: gzip, TLS: trust,
				Headers: map[string][]string{"Authorization": {"Bearer t0ken"}}})
		}
	}
	openSyslog := func(framing syslog.Framing) func() (sinks.Sink, error) {
		return func() (sinks.Sink, error) {
			return syslog.New(syslog.Options{Address: b.SyslogAddr().String(), TLS: trust, Framing: framing, Token: "tok3n", Exact: true, MaxMessageBytes: syslog.MaxMaxMessageBytes})
		}
	}
	entries := sinktest.Entries(1, 200)
	type key struct {
		operation string
		sequence  uint64
	}
	want := make(map[key]*schema.Record)
	for _, e := range entries {
		want[key{e.Operation.ID, e.Record.Sequence}] = e.Record
	}
	for name, open := range map[string]func() (sinks.Sink, error){
		"json": openHTTPS(https.JSON, false), "ndjson": openHTTPS(https.NDJSON, true), "array": openHTTPS(https.Array, true),
		"octet counting": openSyslog(syslog.OctetCounting), "newline": openSyslog(syslog.Newline),
	} {
		t.Run(name, func(t *testing.T) {
			sink, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := sink.Probe(ctx); err != nil {
				t.Fatalf("Probe: %v", err)
			}
			if err := sink.Write(ctx, entries); err != nil {
				t.Fatalf("Write: %v; the receiver says: %s", err, b.log)
			}
			got := make(map[key]bool)
			for range entries {
				r := b.next()
				k := key{r.Record.OperationID, r.Record.Sequence}
				record := want[k]
				if record == nil || got[k] {
					t.Fatalf("not sent, or twice: %+v", k)
				}
				got[k] = true
				if !bytes.Equal(r.Record.Exact(), record.Log) {
					t.Errorf("%+v: the exact bytes are %q, want %q", k, r.Record.Exact(), record.Log)
				}
				if r.Record.Event != record.Event.String() || r.Record.Partial != record.Partial || r.Record.Digest != record.Digest.String() {
					t.Errorf("%+v: %+v of %+v", k, r.Record, record)
				}
				if r.Drain == HTTPS && r.Record.Text != string(record.Text) {
					t.Errorf("%+v: text %q, want %q", k, r.Record.Text, record.Text)
				}
			}
			b.none()
		})
	}
}
