package drains

import (
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/enricher"
)

// BenchmarkEnricher measures the enricher from the TTY stream to the LOGS stream, with the NATS
// server. The CPU time does not include that of filling the TTY stream, nor the start of a profile;
// use -benchtime=1x and a -count.
func BenchmarkEnricher(b *testing.B) {
	var used time.Duration
	records := 0
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		key, err := enrich.LoadKey(filepath.Join(dir, "key.pem"), "")
		if err != nil {
			b.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		on, err := bus.Open(b.Context(), bus.Options{Store: filepath.Join(dir, "data"), Log: log})
		if err != nil {
			b.Fatal(err)
		}
		filled, err := Fill(b.Context(), on, key, 1, 64, 1_000_000, false)
		if err != nil {
			b.Fatal(err)
		}
		metrics := enricher.NewMetrics(prometheus.NewRegistry())
		enricher := enricher.New(enricher.Options{
			Bus: on, Signer: key, Metrics: metrics, Log: log,
			Document: corpus.UserDocuments(key),
		})
		runtime.GC()
		ctx, stop := context.WithCancel(b.Context())
		done := make(chan error, 1)
		before := process.CPUTime()
		b.StartTimer()
		go func() { done <- enricher.Run(ctx) }() // ends when stop is called
		// Polled rarely, because polling adds to the measured CPU time.
		for published := new(dto.Metric); int(published.GetCounter().GetValue()) < filled.Records; time.Sleep(5 * time.Millisecond) {
			if err := metrics.Records.Write(published); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		used += process.CPUTime() - before
		records += filled.Records
		stop()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		on.Close()
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(records)*1e6, "processor-s/Mrecords")
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
