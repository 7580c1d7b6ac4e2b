// Package tracing tells an OpenTelemetry collector, by OTLP over HTTP
// (https://opentelemetry.io/docs/specs/otlp/), the way of some batches: which stage took how long.
//
//	capture ─► enrich ─► drain ─► write ─► encode, write, ack
//
// A chunk is chosen when it is published, and starts a trace, whose context travels with it through
// NATS, in the header "traceparent" of its message (https://www.w3.org/TR/trace-context/). The
// segment that has bytes of chosen chunks, and the batch with such segments, go on with the first
// one's trace, and link to the others. What was not chosen costs nothing behind the capture.
//
// A span has names, numbers, and the operation's ID; never what a session showed, a command, or who
// it was, nor the text of an error, which can quote a drain. It is not guaranteed that a trace is
// whole: spans are kept in memory for seconds, and those that the collector does not take in time
// are gone.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// exportTimeout bounds each try to send spans.
	exportTimeout = 10 * time.Second
	// queued is how many spans may wait for the collector; those beyond it are dropped, and nothing
	// waits for them.
	queued = 2048
	// maxLinks is how many others a span links to.
	maxLinks = 64
)

// Options of a [Tracer]. Endpoint, Ratio and Log are needed.
type Options struct {
	// Endpoint is the URL of the collector's traces, with the path (/v1/traces by convention).
	Endpoint string
	Headers  map[string]string // secrets
	// Transport carries the requests; nil for [http.DefaultTransport].
	Transport http.RoundTripper
	// Ratio is the part of all chunks that start a trace: above 0, and 1 at most.
	Ratio float64
	// Version and Instance are told with each span: of ttydrain, and of this process.
	Version, Instance string
	Log               *slog.Logger
}

// A Tracer starts spans. A nil Tracer traces nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New makes a tracer. It connects to nothing: a collector that is not there costs its spans alone.
func New(ctx context.Context, o Options) (*Tracer, error) {
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithHeaders(o.Headers), otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
	}
	if o.Transport != nil {
		options = append(options, otlptracehttp.WithHTTPClient(&http.Client{Transport: o.Transport, Timeout: exportTimeout}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&telling{SpanExporter: exporter, log: o.Log}, sdktrace.WithMaxQueueSize(queued)),
		// What follows a chunk was chosen with it.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "ttydrain"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.Instance))),
	)
	return &Tracer{provider, provider.Tracer("github.com/ttydrain/ttydrain")}, nil
}

// Close sends what there is, until ctx is done.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: the last spans were not sent: %w", err)
	}
	return nil
}

// A Span is one stage of a way. A nil Span tells nothing.
type Span struct {
	tracer trace.Tracer
	ctx    context.Context // with the span: its children begin with it
	span   trace.Span
}

// Start starts the way of something, or returns nil where it is not chosen.
func (t *Tracer) Start(name string) *Span {
	if t == nil {
		return nil
	}
	return t.start(context.Background(), name, trace.WithSpanKind(trace.SpanKindProducer))
}

// Follow starts the next stage of what came with traceparents, at a time; nil where there is none.
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

// header is that of the W3C.
const header = "traceparent"

// Traceparent is what the next stage follows; "" for none.
func (s *Span) Traceparent() string {
	if s == nil {
		return ""
	}
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(s.ctx, carrier)
	return carrier[header]
}

// Text and Number tell something of the span.
func (s *Span) Text(name, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String("ttydrain."+name, value))
	}
}

func (s *Span) Number(name string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int("ttydrain."+name, value))
	}
}

// Child starts a part of the stage, at a time.
func (s *Span) Child(name string, at time.Time) *Span {
	if s == nil {
		return nil
	}
	ctx, span := s.tracer.Start(s.ctx, name, trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindClient))
	return &Span{s.tracer, ctx, span}
}

// End ends the span with a result, "ok" or a word for what went wrong.
func (s *Span) End(result string) { s.EndAt(result, time.Now()) }

// EndAt is End at a time.
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

// OK is the result of what went well.
const OK = "ok"

// Result is OK, or the word where there is an error, whose text is not told.
func Result(err error, word string) string {
	if err == nil {
		return OK
	}
	return word
}

// telling says in the log when the collector takes spans no more, and when it does again. The SDK
// would tell a handler that is the whole process's.
type telling struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed bool // of the one goroutine that exports
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *telling) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failed:
		e.log.Warn("the collector takes no traces, and they are lost; nothing else waits for it: look at tracing.endpoint", "error", err)
	case err == nil && e.failed:
		e.log.Info("the collector takes traces again")
	}
	e.failed = err != nil
	return nil // it has been told
}
