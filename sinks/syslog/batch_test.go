package syslog

import (
	"strconv"
	"strings"
	"testing"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestFrame compares the framing with that of srslog's framers, for messages of several lengths.
func TestFrame(t *testing.T) {
	for _, message := range []string{"", "a", "grüße", strings.Repeat("x", 99), strings.Repeat("x", 100), strings.Repeat("x", 12345)} {
		for framing, want := range map[Framing]string{OctetCounting: srslog.RFC5425MessageLengthFramer(message), Newline: message + "\n"} {
			const before = "<1>1 another"
			b := &batch{newline: framing == Newline, data: []byte(before + frameSpace + message)}
			b.frame(len(before))
			if got := string(b.data); got != before+want {
				t.Errorf("got %.60q, want %.60q", got, before+want)
			}
		}
	}
}

// BenchmarkEncode encodes batches of 1000 lines as terminals show them; "format" is without
// framing.
func BenchmarkEncode(b *testing.B) {
	entries := sinktest.Entries(1, 1000)
	report := func(b *testing.B, size int) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/line")
		b.ReportMetric(float64(size)/float64(len(entries)), "bytes/line")
	}
	for _, framing := range []Framing{OctetCounting, Newline} {
		b.Run([]string{"octet", "newline"}[framing], func(b *testing.B) {
			batch := newBatch(Options{Framing: framing})
			var size int
			for b.Loop() {
				size = len(batch.encode(entries))
			}
			report(b, size)
		})
	}
	b.Run("format", func(b *testing.B) {
		var e encoder
		var data []byte
		for b.Loop() {
			data = data[:0]
			for _, entry := range entries {
				data = e.append(data, 134, entry.Operation, entry.Record, nil)
			}
		}
		report(b, len(data))
	})
}

// BenchmarkWrite writes to a real rsyslog until its kernel has everything, or by RELP rsyslog
// itself.
func BenchmarkWrite(b *testing.B) {
	for _, protocol := range []Protocol{TCP, RELP} {
		for _, size := range []int{1, 100, 5000} {
			b.Run([]string{"tcp", "relp"}[protocol]+"/"+strconv.Itoa(size), func(b *testing.B) {
				start := syslogtest.StartRsyslog
				if protocol == RELP {
					start = func(t testing.TB, o syslogtest.Options) *syslogtest.Server {
						return syslogtest.StartRELP(t, o, "openssl")
					}
				}
				server := start(b, syslogtest.Options{})
				sink := open(b, Options{Protocol: protocol, Address: server.Address, TLS: server.TLS()})
				defer sink.Close()
				entries := sinktest.Entries(1, size)
				for b.Loop() {
					if err := sink.Write(b.Context(), entries); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(size)/b.Elapsed().Seconds(), "lines/s")
			})
		}
	}
}
