package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/sinks"
)

// tracesGrace limits the time in which a stopping node sends its last traces.
const tracesGrace = 2 * time.Second

// openTracer returns the configured tracer; nil for none.
func openTracer(ctx context.Context, c *config.Config, log *slog.Logger) (*tracing.Tracer, error) {
	if c.Tracing == nil {
		return nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("get the host name: %w", err)
	}
	o := tracing.Options{
		Endpoint: c.Tracing.Endpoint, Ratio: c.Tracing.SampleRatio, Headers: make(map[string]string),
		Version: version(), Instance: host + "/" + c.Admin.Listen, Log: log,
	}
	for name, value := range c.Tracing.Headers {
		o.Headers[name] = value.Reveal()
	}
	// A transport of package sinks resolves the name of the collector again when its address changes.
	if o.Transport, err = sinks.TLS(c.Tracing.TLS).Transport(0); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return tracing.New(ctx, o)
}
