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
	// searchPage is how many documents are asked for at a time. One of a long line of binary output
	// has 100 KB.
	searchPage = 500
	// keepAlive is how long Elasticsearch keeps the point in time after each page.
	keepAlive = "5m"
	// searchTimeout bounds each request.
	searchTimeout = 2 * time.Minute
	maxAnswer     = 1 << 30
)

// A Search is the copy of an Elasticsearch drain. It reads one point in time of an index or data
// stream, sorted by operation and sequence, and needs the privilege "read" on it. "operation_id"
// has to be a keyword there and "sequence" a number, as ttydrain's index template has them.
type Search struct {
	URL   string // of the cluster, without credentials
	Index string // an index, a data stream, or several with commas between
	// Either APIKey, in its base64 form, or Username and Password, or none.
	APIKey             string
	Username, Password string
	TLS                sinks.TLS
	// Selection bounds what is asked for, by operation and app.
	Selection Selection
	Progress  Progress
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
		return fmt.Errorf("make the Elasticsearch client: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	point, err := s.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		// The server does it by itself in five minutes.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.ask(bounded, c, http.MethodDelete, point.path, point.deletion(), nil)
	}()
	return s.pages(ctx, c, point, v)
}

// A pointInTime is what a search sees of an index.
type pointInTime struct {
	id   string
	path string // by which it is closed
	// tie orders documents of the same operation and sequence: each page begins after the last
	// document of the one before.
	tie []any
}

func (p *pointInTime) deletion() any {
	if p.path == "/_pit" {
		return map[string]any{"id": p.id}
	}
	return map[string]any{"pit_id": []string{p.id}}
}

// open opens a point in time. OpenSearch has another path for that, and no order of the documents'
// own. An answer of Elasticsearch always has the header that names it.
func (s *Search) open(ctx context.Context, c *elastictransport.Client) (*pointInTime, error) {
	var point struct {
		ID    string `json:"id"`
		PitID string `json:"pit_id"`
	}
	index := "/" + url.PathEscape(s.Index)
	err := s.ask(ctx, c, http.MethodPost, index+"/_pit?keep_alive="+keepAlive, nil, &point)
	if other := (*notElasticsearch)(nil); !errors.As(err, &other) {
		return &pointInTime{id: point.ID, path: "/_pit", tie: []any{map[string]any{"_shard_doc": "asc"}}}, err
	}
	err = s.ask(ctx, c, http.MethodPost, index+"/_search/point_in_time?keep_alive="+keepAlive, nil, &point)
	if other := (*notElasticsearch)(nil); errors.As(err, &other) {
		err = other.error
	}
	return &pointInTime{id: point.PitID, path: "/_search/point_in_time", tie: []any{
		map[string]any{"event": map[string]any{"order": "asc", "missing": "_first"}},
		map[string]any{"time": map[string]any{"order": "asc", "unmapped_type": "date_nanos"}},
		map[string]any{"_index": "asc"},
	}}, err
}

// notElasticsearch is the refusal of a server that does not name itself Elasticsearch.
type notElasticsearch struct{ error }

func (e *notElasticsearch) Unwrap() error { return e.error }

type searchAnswer struct {
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
		var answer searchAnswer
		if err := s.ask(ctx, c, http.MethodPost, "/_search", query, &answer); err != nil {
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
		s.Progress.tell(done, total)
		if len(answer.Hits.Hits) < searchPage {
			return nil
		}
	}
}

// ask sends a request with a JSON body, or none, and decodes the answer into value, or drops it.
func (s *Search) ask(ctx context.Context, c *elastictransport.Client, method, path string, body, value any) error {
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
	// Numbers stay as they are: search_after gives them back.
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
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
		return fmt.Errorf("read the answer of Elasticsearch at %s: %w", s.URL, jsonError(err))
	}
	return nil
}

// refused tells why Elasticsearch does not answer a question.
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
	do := ""
	switch {
	case status == http.StatusUnauthorized:
		do = ": give an API key, or a user and a password"
	case status == http.StatusForbidden:
		do = fmt.Sprintf(": give credentials with the privilege read on %s", s.Index)
	case status == http.StatusNotFound:
		do = ": is it the drain's data_stream?"
	case strings.Contains(reason, "Fielddata is disabled"), strings.Contains(reason, "No mapping found"):
		do = ": ttydrain's index template was not used there; let operation_id be a keyword and sequence a long"
	}
	return fmt.Errorf("search %s in Elasticsearch at %s: %d: %s%s", s.Index, s.URL, status, reason, do)
}
