package elasticsearch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

const (
	defaultTimeout         = time.Minute
	defaultMaxRequestBytes = 5 << 20
	largestMaxRequestBytes = 10 << 20
	defaultConcurrency     = 4
)

// Options are the settings of a drain of type elasticsearch.
type Options struct {
	// URLs are those of the cluster's members. Each request goes to the next one that is not known
	// to be down. They may have a path, but no credentials.
	URLs []string
	// DataStream is the data stream that records are written to.
	DataStream string
	// Pipeline is the ingest pipeline to send records through; "" for the data stream's default.
	Pipeline string

	// APIKey is an API key: the field "encoded" of Elasticsearch's answer to its creation, or
	// ID:API_KEY, which is encoded here. Either it, or Username and Password, or neither is set.
	APIKey             string
	Username, Password string

	// TLS is for URLs with https.
	TLS sinks.TLS
	// Proxy is the proxy to the cluster.
	Proxy sinks.Proxy
	// Timeout bounds each request, up to the end of the response; 0 for one minute.
	Timeout time.Duration
	// ConnectionLifetime bounds the use of a connection: see [sinks.JitteredLifetime].
	ConnectionLifetime time.Duration
	// MaxRequestBytes bounds the body of a request before compression; 0 for 5 MiB, at most 10 MiB.
	// A single record can exceed it.
	MaxRequestBytes int
	// Concurrency is the maximum number of requests at a time; 0 for 4.
	Concurrency int
	// Gzip compresses requests.
	Gzip bool
	// ManageTemplate installs the index template before the first record.
	ManageTemplate bool
	// Product is the kind of server; "" or Auto to detect it.
	Product Product

	// Log receives warnings that are not errors; nil for none.
	Log *slog.Logger
}

// Open implements [sinks.Opener].
func (o Options) Open() (sinks.Sink, error) { return New(o) }

// Limits implements [sinks.Opener].
func (o Options) Limits() sinks.Limits {
	return sinks.Limits{Concurrency: cmp.Or(o.Concurrency, defaultConcurrency)}
}

// A Sink writes to one data stream. It implements [sinks.Sink].
type Sink struct {
	options   Options
	transport *sinks.Transport
	client    *elastictransport.Client
	members   []member
	encoder   schema.Encoder
	senders   sync.Pool // of *sender

	product   atomic.Pointer[Product] // nil until it is known
	prepareMu sync.Mutex              // guards the fields below
	prepared  bool
	bulk      esapi.BulkRequest // set before prepared is, and then only read
}

// New returns a sink, without connecting. An error names the option that is wrong and what is
// expected.
func New(o Options) (*Sink, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = defaultMaxRequestBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	transport, err := sinks.NewTransport(sinks.TransportOptions{TLS: o.TLS, Lifetime: o.ConnectionLifetime, Proxy: o.Proxy})
	if err != nil {
		return nil, err
	}
	s := &Sink{options: o, transport: transport}
	var urls []*url.URL
	for _, address := range o.URLs {
		u, err := url.Parse(address)
		if err != nil {
			return nil, sinks.RefuseSetting("urls", "has one that is not a URL") // it is checked
		}
		one, err := s.connectTo(u)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
		s.members = append(s.members, member{u, one})
	}
	if s.client, err = s.connectTo(urls...); err != nil {
		return nil, err
	}
	s.senders.New = func() any { return &sender{sink: s} }
	return s, nil
}

// connectTo returns a client for some of the cluster's members, without connecting.
func (s *Sink) connectTo(urls ...*url.URL) (*elastictransport.Client, error) {
	o := s.options
	settings := []elastictransport.Option{
		elastictransport.WithURLs(urls...),
		elastictransport.WithTransport(s.transport),
		elastictransport.WithDisableRetry(), // the pipeline retries
	}
	switch {
	case o.APIKey != "":
		settings = append(settings, elastictransport.WithAPIKey(EncodedKey(o.APIKey)))
	case o.Username != "":
		settings = append(settings, elastictransport.WithBasicAuth(o.Username, o.Password))
	}
	c, err := elastictransport.NewClient(settings...)
	if err != nil {
		return nil, fmt.Errorf("make the Elasticsearch client: %w", err)
	}
	return c, nil
}

// bulkRequest returns the bulk request without its body.
func bulkRequest(o Options, p Product) esapi.BulkRequest {
	r := esapi.BulkRequest{
		Index: url.PathEscape(o.DataStream), Pipeline: o.Pipeline,
		FilterPath: []string{"errors", "items.*.status", "items.*.failure_store", "items.*.error.type", "items.*.error.reason", "error.type", "error.reason"},
	}
	if p == Elasticsearch {
		// Without it, and without a template, the first record would create an ordinary index with
		// dynamic types. OpenSearch does not know it: see ensureDataStream.
		required := true
		r.RequireDataStream = &required
	}
	return r
}

// A member is one of the URLs, with a client for it alone.
type member struct {
	url    *url.URL
	client *elastictransport.Client
}

// Close implements [sinks.Sink].
func (s *Sink) Close() error {
	err := s.client.Close(context.Background())
	for _, m := range s.members {
		err = errors.Join(err, m.client.Close(context.Background()))
	}
	s.transport.Close()
	if err != nil {
		return fmt.Errorf("close the Elasticsearch client: %w", err)
	}
	return nil
}
