package tracing_test

import (
	"errors"
	"log/slog"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/pipeline/tracing/tracingtest"
)

func newTracer(t *testing.T, c *tracingtest.Collector, ratio float64) *tracing.Tracer {
	t.Helper()
	tracer, err := tracing.New(t.Context(), tracing.Options{Endpoint: c.URL, Ratio: ratio, Version: "v1", Instance: "host/1",
		Headers: map[string]string{"X-Key": "hunter"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

// TestTrace checks that the stages form one trace across process boundaries, and that a batch links
// to its other traces.
func TestTrace(t *testing.T) {
	c := tracingtest.New(t, "X-Key", "hunter")
	tracer := newTracer(t, c, 1)
	began := time.Now()
	first, second := tracer.Start("capture"), tracer.Start("capture")
	first.Number("bytes", 7)
	first.End(tracing.OK)
	second.End(tracing.Result(errors.New("session content"), "not recorded"))
	from := []string{"", "nonsense", first.Traceparent(), second.Traceparent(), first.Traceparent()}
	batch := tracer.Follow("drain", from, began)
	ctx, try := batch.Try(t.Context())
	hooks := httptrace.ContextClientTrace(ctx)
	hooks.GetConn("drain:443")
	hooks.WroteRequest(httptrace.WroteRequestInfo{})
	try.End(tracing.OK)
	_, try = batch.Try(t.Context())
	try.End("retry")
	batch.End(tracing.OK)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	captures := c.Named("capture")
	drain := c.Named("drain")[0]
	if len(captures) != 2 || captures[0].Attributes["ttydrain.bytes"] != "7" || captures[0].Error || captures[1].Attributes["ttydrain.result"] != "not recorded" || !captures[1].Error {
		t.Errorf("captures %+v", captures)
	}
	if drain.Trace != captures[0].Trace || drain.Parent != captures[0].ID || len(drain.Links) != 1 || drain.Links[0] != captures[1].ID {
		t.Errorf("the batch %+v follows %+v", drain, captures)
	}
	if !drain.Began.Equal(began) { // both have nanoseconds
		t.Errorf("the batch began at %s, not at %s", drain.Began, began)
	}
	tries := c.Named("try")
	if len(tries) != 2 || tries[0].Parent != drain.ID || tries[0].Error || !tries[1].Error || tries[1].Attributes["ttydrain.result"] != "retry" {
		t.Errorf("tries %+v", tries)
	}
	for _, name := range []string{"encode", "write", "ack"} {
		if parts := c.Named(name); len(parts) != 1 || parts[0].Parent != tries[0].ID || parts[0].Trace != drain.Trace {
			t.Errorf("%s: %+v", name, parts)
		}
	}
	if found := c.Find("session content"); found {
		t.Error("the collector received the text of an error")
	}
	if !c.Find("host/1") {
		t.Error("the collector did not receive the instance")
	}
}

// TestUnsampled checks that a nil tracer and unsampled chunks cost nothing.
func TestUnsampled(t *testing.T) {
	var off *tracing.Tracer
	ctx := t.Context()
	stages := func() {
		chunk := off.Start("capture")
		chunk.Number("bytes", 1)
		chunk.End(tracing.OK)
		batch := off.Follow("drain", nil, time.Time{})
		batch.Text("drain", "siem")
		if batch.Traceparent() != "" {
			t.Error("it has a context")
		}
		within, try := batch.Try(ctx)
		try.End(tracing.OK)
		batch.End(tracing.OK)
		if within != ctx {
			t.Error("the context is another")
		}
	}
	if n := testing.AllocsPerRun(100, stages); n != 0 {
		t.Errorf("it allocates %g times", n)
	}
	if err := off.Close(ctx); err != nil {
		t.Error(err)
	}
	c := tracingtest.New(t, "X-Key", "hunter")
	tracer := newTracer(t, c, 1e-12)
	if span := tracer.Start("capture"); span != nil {
		t.Error("a chunk was sampled at a ratio of 1e-12")
	}
	if span := tracer.Follow("enrich", []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, time.Now()); span != nil {
		t.Error("an unsampled trace was continued")
	}
	// A sampled trace is continued whatever the local ratio is.
	tracer.Follow("enrich", []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, time.Now()).End(tracing.OK)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Named("enrich"); len(got) != 1 || got[0].Trace != "0af7651916cd43dd8448eb211c80319c" || got[0].Parent != "b7ad6b7169203331" {
		t.Errorf("%+v", got)
	}
}

func BenchmarkNilTracer(b *testing.B) {
	var off *tracing.Tracer
	b.ReportAllocs()
	for b.Loop() {
		span := off.Start("capture")
		span.Number("bytes", 1)
		span.End(tracing.OK)
	}
}

func BenchmarkUnsampled(b *testing.B) {
	tracer, err := tracing.New(b.Context(), tracing.Options{Endpoint: "http://127.0.0.1:1/v1/traces", Ratio: 1e-12, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer tracer.Close(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		span := tracer.Start("capture")
		span.Number("bytes", 1)
		span.End(tracing.OK)
	}
}
