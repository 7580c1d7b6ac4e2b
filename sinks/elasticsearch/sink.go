package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	client "github.com/elastic/go-elasticsearch/v8"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

const (
	defaultTimeout         = time.Minute
	defaultMaxRequestBytes = 5 << 20
	largestMaxRequestBytes = 10 << 20
)

// Options are the settings of a drain of type elasticsearch.
type Options struct {
	// URLs are those of the cluster's members, of which each request goes to the next one that is
	// not known to be down. They may have a path and may not have credentials.
	URLs []string
	// DataStream is where the records go.
	DataStream string
	// Pipeline is the ingest pipeline to send records through; "" for the data stream's default.
	Pipeline string

	// APIKey is an API key: the field "encoded" of Elasticsearch's answer to its creation, or
	// ID:API_KEY, which is encoded here. Either it, or Username and Password, or none of them is set.
	APIKey             string
	Username, Password string

	// TLS is for URLs with https.
	TLS sinks.TLS
	// Timeout bounds each request from its begin to the end of the answer; 0 for one minute.
	Timeout time.Duration
	// ConnectionLifetime is how long a connection is used: see [sinks.JitteredLifetime].
	ConnectionLifetime time.Duration
	// MaxRequestBytes bounds the body of a request before compression; 0 for 5 MiB, at most 10 MiB. A
	// single record can exceed it.
	MaxRequestBytes int
	// Gzip compresses requests.
	Gzip bool
	// ManageTemplate installs the index template before the first record.
	ManageTemplate bool

	// Log gets what an operator has to know and no error tells; nil for nothing.
	Log *slog.Logger
}

// A Sink writes to one data stream. It implements [sinks.Sink].
type Sink struct {
	options   Options
	transport *sinks.Transport
	client    *client.BaseClient
	members   []member
	bulkPath  string
	encoder   schema.Encoder
	senders   sync.Pool // of *sender

	templateMu   sync.Mutex // guards what follows
	templateDone bool
}

// New makes a sink, without connecting. An error says which option is wrong and what it should be.
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
	transport, err := sinks.NewTransport(sinks.TransportOptions{TLS: o.TLS, Lifetime: o.ConnectionLifetime})
	if err != nil {
		return nil, err
	}
	settings := []client.Option{
		client.WithTransportOptions(
			elastictransport.WithTransport(transport),
			elastictransport.WithDisableRetry(), // the pipeline retries
		),
	}
	switch {
	case o.APIKey != "":
		settings = append(settings, client.WithAPIKey(encodedKey(o.APIKey)))
	case o.Username != "":
		settings = append(settings, client.WithBasicAuth(o.Username, o.Password))
	}
	c, err := client.NewBase(append(settings, client.WithAddresses(o.URLs...))...)
	if err != nil {
		return nil, fmt.Errorf("make the Elasticsearch client: %w", err)
	}
	var members []member
	for _, address := range o.URLs {
		one, err := client.NewBase(append(settings, client.WithAddresses(address))...)
		if err != nil {
			return nil, fmt.Errorf("make the Elasticsearch client: %w", err)
		}
		members = append(members, member{address, one})
	}
	query := url.Values{
		"filter_path": {"errors,items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason,error.type,error.reason"},
		// Without it, and without a template, the first record would create an ordinary index with
		// guessed types.
		"require_data_stream": {"true"},
	}
	if o.Pipeline != "" {
		query.Set("pipeline", o.Pipeline)
	}
	s := &Sink{
		options:   o,
		transport: transport,
		client:    c,
		members:   members,
		bulkPath:  "/" + url.PathEscape(o.DataStream) + "/_bulk?" + query.Encode(),
	}
	s.senders.New = func() any { return &sender{sink: s} }
	return s, nil
}

// A member is one of the URLs, with a client that speaks to it alone.
type member struct {
	url    string
	client *client.BaseClient
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
