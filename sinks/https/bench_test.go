package https

import (
	"io"
	"net/http"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// BenchmarkWrite sends batches to a server in the same process: time and allocations are of both.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name    string
		options Options
		records int
	}{
		{"json", Options{}, 500},
		{"ndjson", Options{Format: NDJSON}, 5000},
		{"ndjson gzip", Options{Format: NDJSON, Gzip: true}, 5000},
		{"array", Options{Format: Array}, 5000},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := newDrain(b, settings{http1: true, handle: func(_ *drain, w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
			}})
			s := d.sink(b, c.options)
			batch := sinktest.Entries(1, c.records)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(c.records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkEncode makes the bodies alone.
func BenchmarkEncode(b *testing.B) {
	s, err := New(Options{URL: "https://127.0.0.1/", Format: NDJSON})
	if err != nil {
		b.Fatal(err)
	}
	batch := sinktest.Entries(1, 5000)
	d := s.senders.Get().(*sender)
	b.ReportAllocs()
	for b.Loop() {
		size := int64(0)
		for left := batch; len(left) > 0; {
			n, e := d.fill(left)
			if e != nil {
				b.Fatal(e)
			}
			size += int64(len(d.plain))
			left = left[n:]
		}
		b.SetBytes(size)
	}
	b.ReportMetric(float64(b.N)*float64(len(batch))/b.Elapsed().Seconds(), "records/s")
}

// TestEncodeAllocates holds that a record of output costs no allocation.
func TestEncodeAllocates(t *testing.T) {
	s, err := New(Options{URL: "https://127.0.0.1/", Format: NDJSON})
	if err != nil {
		t.Fatal(err)
	}
	var batch []sinks.Entry
	for _, e := range sinktest.Entries(1, 1000) {
		if e.Record.Event == schema.EventOutput {
			batch = append(batch, e)
		}
	}
	d := s.senders.Get().(*sender)
	n := testing.AllocsPerRun(10, func() {
		for left := batch; len(left) > 0; {
			n, e := d.fill(left)
			if e != nil || n == 0 {
				t.Fatal(n, e)
			}
			left = left[n:]
		}
	})
	if n > 5 {
		t.Errorf("%.0f allocations for %d records", n, len(batch))
	}
}
