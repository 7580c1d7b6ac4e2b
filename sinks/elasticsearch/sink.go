package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
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

	// APIKey is the base64 form of an API key. Either it, or Username and Password, or none of
	// them is set.
	APIKey             string
	Username, Password string

	// TLS is for URLs with https.
	TLS sinks.TLS
	// Timeout bounds each request from its begin to the end of the answer; 0 for one minute.
	Timeout time.Duration
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
	if err := o.check(); err != nil {
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
	transport, err := o.TLS.Transport(0) // each request has its own timeout
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
		settings = append(settings, client.WithAPIKey(o.APIKey))
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

func (o *Options) check() error {
	if len(o.URLs) == 0 {
		return errors.New("urls is empty: give at least one, such as https://es.example.com:9200")
	}
	for _, s := range o.URLs {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return errors.New("urls has one that is not a URL: it should be such as https://es.example.com:9200") // the text could have a password
		case u.User != nil:
			return fmt.Errorf("urls: %s has credentials in it: move them to username and password, since URLs are printed", u.Redacted())
		case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			return fmt.Errorf("urls: %q should begin with http:// or https:// and a host", s)
		case u.RawQuery != "", u.Fragment != "":
			return fmt.Errorf("urls: %q should end with the host, the port or a path", s)
		}
	}
	if err := CheckDataStream(o.DataStream); err != nil {
		return err
	}
	switch {
	case o.APIKey != "" && (o.Username != "" || o.Password != ""):
		return errors.New("api_key is set, and username or password as well: remove one or the other")
	case (o.Username == "") != (o.Password == ""):
		return errors.New("username and password go together: set both or none")
	case strings.ContainsFunc(o.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("api_key has a character that is not allowed, such as a space or a line end: it should be the field \"encoded\" of Elasticsearch's answer to its creation")
	case o.Timeout < 0:
		return fmt.Errorf("timeout is %s: it should be positive", o.Timeout)
	case o.MaxRequestBytes < 0 || o.MaxRequestBytes > largestMaxRequestBytes:
		return fmt.Errorf("max_request_bytes is %d: it should be from 1 to %d", o.MaxRequestBytes, largestMaxRequestBytes)
	}
	return nil
}

// CheckDataStream holds a name to Elasticsearch's rules for names of data streams. The error says what it should be.
func CheckDataStream(name string) error {
	switch {
	case name == "":
		return errors.New("data_stream is missing: name one, such as logs-ssh-default")
	case len(name) > 255:
		return fmt.Errorf("data_stream has %d bytes: it may have 255", len(name))
	case strings.ContainsAny(name, "\\/*?\"<>| ,#:") || strings.ToLower(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return fmt.Errorf("data_stream is %q: none of \\ / * ? \" < > | , # : and no space or upper-case letter may be in it", name)
	case strings.ContainsAny(name[:1], "-_+."):
		return fmt.Errorf("data_stream is %q: its first character may not be one of - _ . +, so begin it with a letter", name)
	}
	return nil
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
