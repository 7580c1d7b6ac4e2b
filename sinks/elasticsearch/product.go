package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/ttydrain/ttydrain/sinks"
)

// A Product is a server with the bulk API. The differences matter where data streams are created:
// OpenSearch does not know the parameter require_data_stream, and refuses some fields of index
// templates.
type Product string

// The products. "" and Auto stand for the one that answers.
const (
	Auto          Product = "auto"
	Elasticsearch Product = "elasticsearch"
	OpenSearch    Product = "opensearch"
)

// String returns the product's display name.
func (p Product) String() string {
	if p == OpenSearch {
		return "OpenSearch"
	}
	return "Elasticsearch"
}

// detect asks a cluster which product it is, unless it is set.
//
// Elasticsearch names itself in a header, and OpenSearch in the response to GET /. If the
// credentials are refused or lack the permission for GET /, the forms of the refusals differ.
func (s *Sink) detect(ctx context.Context, by *elastictransport.Client) (Product, *sinks.Error) {
	if p := s.options.Product; p == Elasticsearch || p == OpenSearch {
		return p, nil
	}
	var buffer bytes.Buffer
	got, _, err := s.ask(ctx, by, request{doing: "reach " + s.products(), api: esapi.InfoRequest{}}, &buffer)
	if err != nil {
		return "", err
	}
	if got.header.Get("X-Elastic-Product") == "Elasticsearch" {
		return Elasticsearch, nil
	}
	failure := readFailure(got.body)
	var root struct {
		Version struct{ Distribution string }
		Tagline string
	}
	switch {
	case got.status == http.StatusOK && json.Unmarshal(got.body, &root) == nil &&
		(root.Version.Distribution == "opensearch" || strings.Contains(root.Tagline, "OpenSearch")):
		return OpenSearch, nil
	case failure.Type == "security_exception" && strings.HasPrefix(failure.Reason, "no permissions for "):
		return OpenSearch, nil // its security plugin
	case failure.Type == "security_exception":
		return Elasticsearch, nil // it does not name itself to credentials that it refuses
	case got.status != http.StatusOK:
		return "", s.refusal(got)
	}
	return "", &sinks.Error{Verdict: sinks.Misconfigured,
		Reason: "what answers there is neither Elasticsearch nor OpenSearch, or a proxy before it removes the header X-Elastic-Product",
		Advice: "correct urls or the proxy, or set product"}
}

// products returns the name of the product for errors, as far as it is known.
func (s *Sink) products() string {
	if p := s.product.Load(); p != nil {
		return p.String()
	}
	if s.options.Product == OpenSearch || s.options.Product == Elasticsearch {
		return s.options.Product.String()
	}
	return "Elasticsearch or OpenSearch"
}

// known returns the options, with the product that was found.
func (s *Sink) known() Options {
	o := s.options
	if p := s.product.Load(); p != nil {
		o.Product = *p
	}
	return o
}

// prepare detects the product, and makes sure that the index template exists, once for each sink.
// It fails only if writing would fail too.
func (s *Sink) prepare(ctx context.Context) *sinks.Error {
	s.prepareMu.Lock() // a second Write waits for the first
	defer s.prepareMu.Unlock()
	if s.prepared {
		return nil
	}
	product, err := s.detect(ctx, s.client)
	if err != nil {
		return err
	}
	s.product.Store(&product)
	s.bulk = bulkRequest(s.options, product)
	if s.options.ManageTemplate {
		if err := s.installTemplate(ctx, product); err != nil {
			return err
		}
	}
	if product == OpenSearch {
		if err := s.ensureDataStream(ctx); err != nil {
			return err
		}
	}
	s.prepared = true
	return nil
}
