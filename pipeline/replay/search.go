package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"

	"github.com/ttydrain/ttydrain/sinks"
)

const (
	// searchPage is the number of documents per request. A document with a long line of binary
	// output has 100 KB.
	searchPage = 500
	// keepAlive is the time for which Elasticsearch keeps the point in time after each page.
	keepAlive = "5m"
	// searchTimeout bounds each request.
	searchTimeout = 2 * time.Minute
	maxResponse   = 1 << 30
)

// Search is the copy of an Elasticsearch drain. It reads a point in time of an index or data
// stream, sorted by operation and sequence, and needs the privilege "read". "operation_id" must be
// a keyword and "sequence" a number, as in ttydrain's index template.
type Search struct {
	URL   string // of the cluster, without credentials
	Index string // an index, a data stream, or several separated by commas
	// Set either APIKey, in its base64 form, or Username and Password, or neither.
	APIKey             string
	Username, Password string
	TLS                sinks.TLS
	// Selection limits the search by operation and app.
	Selection Selection
	Progress  Progress
}

// ParseSearchURL splits the URL of a data stream, as in
// https://es.example.com:9200/logs-ssh-default, into that of the cluster and the name of the data
// stream. It refuses a URL with credentials, which command lines show to other users.
func ParseSearchURL(text string) (cluster, index string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", errors.New("the URL is not understood: expected one such as https://es.example.com:9200/logs-ssh-default") // without text, which may have credentials
	}
	base, index := u.Path, ""
	if i := strings.LastIndexByte(base, '/'); i >= 0 {
		base, index = base[:i], base[i+1:]
	}
	switch {
	case u.User != nil:
		return "", "", errors.New("the URL has credentials in it, which other users see in the list of processes: put them into ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD")
	case index == "" || u.RawQuery != "" || u.Fragment != "" || u.Host == "":
		return "", "", errors.New("the URL has to end with the drain's data stream, as in https://es.example.com:9200/logs-ssh-default")
	}
	return u.Scheme + "://" + u.Host + base, index, nil
}

// Grouped implements [Copy].
func (s *Search) Grouped() bool { return true }

// Read implements [Copy].
func (s *Search) Read(ctx context.Context, v Visitor) error {
	transport, err := s.TLS.Transport(searchTimeout)
	if err != nil {
		return err
	}
	defer transport.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		return fmt.Errorf("search Elasticsearch: %w", err)
	}
	options := []elastictransport.Option{elastictransport.WithURLs(u), elastictransport.WithTransport(transport)}
	switch {
	case s.APIKey != "":
		options = append(options, elastictransport.WithAPIKey(s.APIKey))
	case s.Username != "":
		options = append(options, elastictransport.WithBasicAuth(s.Username, s.Password))
	}
	c, err := elastictransport.NewClient(options...)
	if err != nil {
		return fmt.Errorf("create the Elasticsearch client: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	point, err := s.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		// Without this request the server closes it after five minutes.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.do(bounded, c, http.MethodDelete, point.path, point.deletion(), nil)
	}()
	return s.pages(ctx, c, point, v)
}

// pointInTime is the snapshot of an index that a search reads.
type pointInTime struct {
	id   string
	path string // for closing it
	// tie orders documents with the same operation and sequence, since each page begins after the
	// last document of the previous one.
	tie []any
}

func (p *pointInTime) deletion() any {
	if p.path == "/_pit" {
		return map[string]any{"id": p.id}
	}
	return map[string]any{"pit_id": []string{p.id}}
}

// open opens a point in time. OpenSearch has a different path for it and no implicit order of
// documents. Responses of Elasticsearch always have the header X-Elastic-Product.
func (s *Search) open(ctx context.Context, c *elastictransport.Client) (*pointInTime, error) {
	var point struct {
		ID    string `json:"id"`
		PitID string `json:"pit_id"`
	}
	index := "/" + url.PathEscape(s.Index)
	err := s.do(ctx, c, http.MethodPost, index+"/_pit?keep_alive="+keepAlive, nil, &point)
	if other := (*notElasticsearch)(nil); !errors.As(err, &other) {
		return &pointInTime{id: point.ID, path: "/_pit", tie: []any{map[string]any{"_shard_doc": "asc"}}}, err
	}
	err = s.do(ctx, c, http.MethodPost, index+"/_search/point_in_time?keep_alive="+keepAlive, nil, &point)
	if other := (*notElasticsearch)(nil); errors.As(err, &other) {
		err = other.error
	}
	return &pointInTime{id: point.PitID, path: "/_search/point_in_time", tie: []any{
		map[string]any{"event": map[string]any{"order": "asc", "missing": "_first"}},
		map[string]any{"time": map[string]any{"order": "asc", "unmapped_type": "date_nanos"}},
		map[string]any{"_index": "asc"},
	}}, err
}

// notElasticsearch is the error response of a server that does not identify itself as
// Elasticsearch.
type notElasticsearch struct{ error }

func (e *notElasticsearch) Unwrap() error { return e.error }

type searchResponse struct {
	Point string `json:"pit_id"`
	Hits  struct {
		Total struct {
			Value int64 `json:"value"`
		} `json:"total"`
		Hits []struct {
			Index  string          `json:"_index"`
			ID     string          `json:"_id"`
			Source json.RawMessage `json:"_source"`
			Sort   []any           `json:"sort"`
		} `json:"hits"`
	} `json:"hits"`
}

func (s *Search) pages(ctx context.Context, c *elastictransport.Client, point *pointInTime, v Visitor) error {
	filters := []any{map[string]any{"exists": map[string]any{"field": "operation_id"}}}
	for field, value := range map[string]string{"operation_id": s.Selection.Operation, "app": s.Selection.App} {
		if value != "" {
			filters = append(filters, map[string]any{"term": map[string]any{field: value}})
		}
	}
	var d decoder
	var done, total int64
	var after []any
	for {
		query := map[string]any{
			"size": searchPage, "query": map[string]any{"bool": map[string]any{"filter": filters}},
			"pit":              map[string]any{"id": point.id, "keep_alive": keepAlive},
			"sort":             append([]any{map[string]any{"operation_id": "asc"}, map[string]any{"sequence": "asc"}}, point.tie...),
			"track_total_hits": after == nil,
		}
		if after != nil {
			query["search_after"] = after
		}
		var answer searchResponse
		if err := s.do(ctx, c, http.MethodPost, "/_search", query, &answer); err != nil {
			return err
		}
		if after == nil {
			total = answer.Hits.Total.Value
		}
		if answer.Point != "" {
			point.id = answer.Point
		}
		for i := range answer.Hits.Hits {
			hit := &answer.Hits.Hits[i]
			if err := d.objects(hit.Source, Place{Name: hit.Index + "/" + hit.ID}, v); err != nil {
				return err
			}
			after = hit.Sort
		}
		done += int64(len(answer.Hits.Hits))
		s.Progress.report(done, total)
		if len(answer.Hits.Hits) < searchPage {
			return nil
		}
	}
}

// do sends a request with an optional JSON body and decodes the response into value unless it is
// nil.
func (s *Search) do(ctx context.Context, c *elastictransport.Client, method, path string, body, value any) error {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("search Elasticsearch: %w", err)
		}
		sent = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, path, sent)
	if err != nil {
		return fmt.Errorf("search Elasticsearch: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept-Encoding", sinks.Identity)
	response, err := c.Perform(request)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return context.Cause(ctx)
		}
		return fmt.Errorf("search Elasticsearch at %s: %w", s.URL, err)
	}
	defer response.Body.Close()
	// Numbers must keep their exact form, since they are returned in search_after.
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxResponse))
	decoder.UseNumber()
	if response.StatusCode/100 != 2 {
		err := s.refused(response.StatusCode, decoder)
		if response.Header.Get("X-Elastic-Product") == "" {
			err = &notElasticsearch{err}
		}
		return err
	}
	if value == nil {
		return nil
	}
	if err := decoder.Decode(value); err != nil {
		return fmt.Errorf("read the response of Elasticsearch at %s: %w", s.URL, jsonError(err))
	}
	return nil
}

// refused returns an error that describes an error response.
func (s *Search) refused(status int, decoder *json.Decoder) error {
	var answer struct {
		Error struct {
			Type   string `json:"type"`
			Reason string `json:"reason"`
			Causes []struct {
				Reason string `json:"reason"`
			} `json:"root_cause"`
		} `json:"error"`
	}
	reason := http.StatusText(status)
	if decoder.Decode(&answer) == nil && answer.Error.Reason != "" {
		reason = answer.Error.Reason
		if len(answer.Error.Causes) > 0 {
			reason = answer.Error.Causes[0].Reason
		}
	}
	advice := ""
	switch {
	case status == http.StatusUnauthorized:
		advice = ": set an API key, or a user and a password"
	case status == http.StatusForbidden:
		advice = fmt.Sprintf(": use credentials with the privilege read on %s", s.Index)
	case status == http.StatusNotFound:
		advice = ": check that it is the drain's data_stream"
	case strings.Contains(reason, "Fielddata is disabled"), strings.Contains(reason, "No mapping found"):
		advice = ": ttydrain's index template was not used; map operation_id as keyword and sequence as long"
	}
	return fmt.Errorf("search %s in Elasticsearch at %s: %d: %s%s", s.Index, s.URL, status, reason, advice)
}
