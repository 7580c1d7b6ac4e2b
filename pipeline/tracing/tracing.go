// Package tracing exports spans of a sample of the data to an OpenTelemetry collector, by OTLP over
// HTTP (https://opentelemetry.io/docs/specs/otlp/). The spans show how long each stage took:
//
//	capture ─► enrich ─► drain ─► write ─► encode, write, ack
//
// Chunks are sampled when they are published. A sampled chunk starts a trace, and its trace context
// travels through NATS in the message header "traceparent" (https://www.w3.org/TR/trace-context/).
// A segment with bytes of sampled chunks continues the trace of the first one and links to the
// others, and so does a batch with such segments. Chunks that are not sampled cost nothing after
// capture.
//
// A span has names, numbers and the operation's ID. It never has session content, a command, a
// user, or the text of an error, which can quote a drain. Traces can be incomplete: spans are in
// memory for seconds, and those that the collector does not accept in time are dropped.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// exportTimeout bounds each attempt to send spans.
	exportTimeout = 10 * time.Second
	// maxQueuedSpans is the number of spans that may wait for the collector. More are dropped;
	// nothing blocks.
	maxQueuedSpans = 2048
	// maxLinks is the maximum number of links of a span.
	maxLinks = 64
)

// Options configure a [Tracer]. Endpoint, Ratio and Log are required.
type Options struct {
	// Endpoint is the URL of the collector's traces, with the path (/v1/traces by convention).
	Endpoint string
	Headers  map[string]string // secrets
	// Transport sends the requests; nil for [http.DefaultTransport].
	Transport http.RoundTripper
	// Ratio is the fraction of chunks that start a trace, above 0 and at most 1.
	Ratio float64
	// Version of ttydrain and Instance, which identifies this process, are exported with each span.
	Version, Instance string
	Log               *slog.Logger
}

// Tracer starts spans. A nil Tracer records nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns a tracer. It does not connect: an unreachable collector only loses its spans.
func New(ctx context.Context, o Options) (*Tracer, error) {
	client := &http.Client{Transport: o.Transport, Timeout: exportTimeout}
	exporter, err := otlptrace.New(ctx, &uploader{endpoint: o.Endpoint, headers: o.Headers, client: client, first: retryFirst})
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: exporter, log: o.Log}, sdktrace.WithMaxQueueSize(maxQueuedSpans)),
		// Later stages follow the decision that was made for the chunk.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "ttydrain"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.Instance))),
	)
	return &Tracer{provider, provider.Tracer("github.com/ttydrain/ttydrain")}, nil
}

// Close sends the queued spans, until ctx is done.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: send the last spans: %w", err)
	}
	return nil
}

// Span is one stage of a trace. A nil Span records nothing.
type Span struct {
	tracer trace.Tracer
	ctx    context.Context // contains the span, as the parent of its children
	span   trace.Span
}

// Start starts a trace, or returns nil if it is not sampled.
func (t *Tracer) Start(name string) *Span {
	if t == nil {
		return nil
	}
	return t.start(context.Background(), name, trace.WithSpanKind(trace.SpanKindProducer))
}

// Follow starts a span at time at. It continues the first sampled trace of the traceparents in
// from, and links to the others. It returns nil if none is sampled.
func (t *Tracer) Follow(name string, from []string, at time.Time) *Span {
	if t == nil || len(from) == 0 {
		return nil
	}
	ctx := context.Background()
	var links []trace.Link
	seen := make(map[string]bool)
	for _, parent := range from {
		if seen[parent] || len(links) == maxLinks {
			continue
		}
		seen[parent] = true
		c := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{header: parent}))
		switch {
		case !c.IsValid() || !c.IsSampled():
		case !trace.SpanContextFromContext(ctx).IsValid():
			ctx = trace.ContextWithRemoteSpanContext(ctx, c)
		default:
			links = append(links, trace.Link{SpanContext: c})
		}
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	return t.start(ctx, name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(at), trace.WithLinks(links...))
}

func (t *Tracer) start(ctx context.Context, name string, o ...trace.SpanStartOption) *Span {
	ctx, span := t.tracer.Start(ctx, name, o...)
	if !span.IsRecording() {
		return nil
	}
	return &Span{t.tracer, ctx, span}
}

// header is the name of the W3C trace context header.
const header = "traceparent"

// Traceparent returns the trace context for the next stage, or "" for a nil span.
func (s *Span) Traceparent() string {
	if s == nil {
		return ""
	}
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(s.ctx, carrier)
	return carrier[header]
}

// Text sets a string attribute.
func (s *Span) Text(name, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String("ttydrain."+name, value))
	}
}

// Number sets an integer attribute.
func (s *Span) Number(name string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int("ttydrain."+name, value))
	}
}

// Child starts a child span at time at.
func (s *Span) Child(name string, at time.Time) *Span {
	if s == nil {
		return nil
	}
	ctx, span := s.tracer.Start(s.ctx, name, trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindClient))
	return &Span{s.tracer, ctx, span}
}

// End ends the span with a result: [OK], or a word for the failure.
func (s *Span) End(result string) { s.EndAt(result, time.Now()) }

// EndAt is like [Span.End], at time at.
func (s *Span) EndAt(result string, at time.Time) {
	if s == nil {
		return
	}
	s.Text("result", result)
	if result != OK {
		s.span.SetStatus(codes.Error, result)
	}
	s.span.End(trace.WithTimestamp(at))
}

// OK is the result of a successful span.
const OK = "ok"

// Result returns OK if err is nil and word otherwise. The text of the error is not exported.
func Result(err error, word string) string {
	if err == nil {
		return OK
	}
	return word
}

// loggingExporter logs when the collector stops accepting spans and when it accepts them again. The
// SDK would report this to an error handler that is global to the process.
type loggingExporter struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed bool // used only by the one goroutine that exports
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *loggingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failed:
		e.log.Warn("traces are dropped: the collector does not accept them", "error", err, "advice", "check tracing.endpoint; recording is not affected")
	case err == nil && e.failed:
		e.log.Info("the collector accepts traces again")
	}
	e.failed = err != nil
	return nil // it has been logged
}
