package main

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/file"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// sinkTypes is the table of sinks: it has the options of a drain's sink by the drain's protocol.
// Presets need no entry, since they stand for one of these.
var sinkTypes = map[string]func(d config.Drain, log *slog.Logger) sinks.Opener{
	"https":         httpsOptions,
	"elasticsearch": elasticsearchOptions,
	"syslog":        syslogOptions,
	"file":          fileOptions,
}

// sinkOptions returns the options of a drain's sink.
func sinkOptions(d config.Drain, log *slog.Logger) (sinks.Opener, error) {
	options, ok := sinkTypes[d.Protocol()]
	if !ok {
		return nil, fmt.Errorf("drain %s has no settings for its type %s", d.Name, d.Type)
	}
	return options(d, log.With("drain", d.Name)), nil
}

// openSink opens the sink of a drain.
func openSink(d config.Drain, log *slog.Logger) (sinks.Sink, error) {
	o, err := sinkOptions(d, log)
	if err != nil {
		return nil, err
	}
	return o.Open()
}

// routedDrains returns the configured drains that get session logs, for the router.
func routedDrains(c *config.Config, log *slog.Logger) []drain.Drain {
	var drains []drain.Drain
	for _, d := range c.Drains {
		if !d.DrainEphemeralSessions {
			continue
		}
		drains = append(drains, routedDrain(d, log))
	}
	return drains
}

// routedDrain returns one drain for the router.
func routedDrain(d config.Drain, log *slog.Logger) drain.Drain {
	routed := drain.Drain{
		Name:         d.Name,
		Settings:     d,
		Fingerprint:  d.Fingerprint,
		Open:         func() (sinks.Sink, error) { return openSink(d, log) },
		PHI:          d.CoversPHI(),
		Timeout:      d.Timeout,
		BatchRecords: d.Batch.Records, BatchBytes: int(d.Batch.Bytes), BatchWait: d.Batch.Wait,
	}
	if o, err := sinkOptions(d, log); err == nil { // else Open fails
		limits := o.Limits()
		routed.Writers, routed.Alone, routed.Unconfirmed = limits.Concurrency, limits.OneByOne, limits.Unconfirmed
	}
	for _, stack := range orAny(d.Match.Stacks) {
		for _, app := range orAny(d.Match.Apps) {
			routed.Match = append(routed.Match, drain.Match{Stack: stack, App: app})
		}
	}
	return routed
}

// orAny returns the names, or one that stands for any.
func orAny(names []string) []string {
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

func httpsOptions(d config.Drain, _ *slog.Logger) sinks.Opener {
	h := d.HTTPS
	headers := make(http.Header)
	for name, value := range h.Headers {
		headers.Set(name, value.Reveal())
	}
	return https.Options{
		URL: h.URL.Reveal(), Username: h.Username, Password: h.Password.Reveal(), Format: https.Format(h.Format), Gzip: h.Compression == "gzip", Headers: headers,
		TLS: sinks.TLS(h.TLS), Proxy: proxyOf(h.Proxy), Timeout: d.Timeout, ConnectionLifetime: d.ConnectionLifetime, Version: version(),
		MaxRequestBytes: int(h.MaxRequestBytes), MaxRequestRecords: h.MaxRequestRecords, MaxRecordBytes: h.MaxRecordBytes,
		Concurrency: h.Concurrency, ArrayField: h.ArrayField, Shape: h.Shape,
	}
}

func elasticsearchOptions(d config.Drain, log *slog.Logger) sinks.Opener {
	e := d.Elasticsearch
	var urls []string
	for _, u := range e.URLs {
		urls = append(urls, u.Reveal())
	}
	return elasticsearch.Options{
		URLs: urls, Product: elasticsearch.Product(e.Product), DataStream: e.DataStream, Pipeline: e.Pipeline, APIKey: e.APIKey.Reveal(),
		Username: e.Username, Password: e.Password.Reveal(), TLS: sinks.TLS(e.TLS), Proxy: proxyOf(e.Proxy), Timeout: d.Timeout, ConnectionLifetime: d.ConnectionLifetime,
		ManageTemplate: e.ManageTemplate, Gzip: e.Compression == "gzip", MaxRequestBytes: int(e.MaxRequestBytes), Concurrency: e.Concurrency, Log: log,
	}
}

func syslogOptions(d config.Drain, _ *slog.Logger) sinks.Opener {
	s := d.Syslog
	framing := syslog.OctetCounting
	if s.Framing == "newline" {
		framing = syslog.Newline
	}
	protocol := syslog.TCP
	if s.Protocol == "relp" {
		protocol = syslog.RELP
	}
	return syslog.Options{
		Protocol: protocol, Address: s.Address, TLS: sinks.TLS(s.TLS), Framing: framing, Token: s.Token.Reveal(), Exact: s.Exact,
		Facility: s.Facility, Timeout: d.Timeout, ConnectionLifetime: d.ConnectionLifetime, TokenEnterprise: s.TokenEnterprise, MaxMessageBytes: int(s.MaxMessageBytes),
		ConnectionGrace: s.ConnectionGrace,
	}
}

func fileOptions(d config.Drain, _ *slog.Logger) sinks.Opener { return file.Options{Path: d.File.Path} }

// proxyOf returns the proxy of a drain; nil stands for that of the environment.
func proxyOf(p *config.Proxy) sinks.Proxy {
	if p == nil {
		return sinks.Proxy{}
	}
	return sinks.Proxy{None: p.None, URL: p.URL.Reveal(), CAFile: p.CAFile}
}
