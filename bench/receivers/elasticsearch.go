package receivers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// A Node is a real Elasticsearch node, which stores and indexes records. All compared subjects
// share it; each run has a data stream of its own, with ttydrain's mapping. It is for one
// goroutine.
type Node struct {
	URL     string // valid while it runs
	started *estest.Node
	streams int
}

// Open starts the node unless it runs.
func (n *Node) Open() error {
	if n.started != nil {
		return nil
	}
	started, err := estest.Open(estest.Options{})
	if err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		return measure.Missing("no Elasticsearch node: %s", reason)
	}
	n.started, n.URL = started, started.URL
	return nil
}

// Close stops the node.
func (n *Node) Close() {
	if n.started != nil {
		n.started.Stop()
		n.started = nil
	}
}

// NewDataStream returns the name of a data stream, which the first record creates.
func (n *Node) NewDataStream(ctx context.Context) (string, error) {
	n.streams++
	stream := fmt.Sprintf("logs-ttydrain-bench-%d-%d", time.Now().Unix(), n.streams)
	name, body := elasticsearch.IndexTemplate(stream)
	if err := n.ask(ctx, http.MethodPut, "/_index_template/"+name, string(body), new(struct{})); err != nil {
		return "", err
	}
	return stream, nil
}

// Indexed returns the number of documents in a data stream, searchable or not.
func (n *Node) Indexed(ctx context.Context, stream string) (int, error) {
	var got struct {
		All struct {
			Primaries struct {
				Indexing struct {
					Total int `json:"index_total"`
				}
			}
		} `json:"_all"`
	}
	// By a pattern, so that a data stream that does not exist yet has no documents.
	err := n.ask(ctx, http.MethodGet, "/"+stream+"*/_stats/indexing?filter_path=_all.primaries.indexing.index_total", "", &got)
	return got.All.Primaries.Indexing.Total, err
}

// Verify compares the documents of a data stream, whose field names have a prefix, with the input,
// and deletes the data stream.
func (n *Node) Verify(ctx context.Context, stream, prefix string, f corpus.Totals) error {
	if err := n.ask(ctx, http.MethodPost, "/"+stream+"/_refresh", "", new(struct{})); err != nil {
		return err
	}
	var all struct{ Count int }
	if err := n.ask(ctx, http.MethodGet, "/"+stream+"/_count", "", &all); err != nil {
		return err
	}
	var ends struct {
		Hits         struct{ Total struct{ Value int } }
		Aggregations struct{ Records, Shown struct{ Value float64 } }
	}
	query := strings.ReplaceAll(`{"size":0,"track_total_hits":true,"query":{"term":{"$event":"end"}},"aggs":{"records":{"sum":{"field":"$sequence"}},"shown":{"sum":{"field":"$bytes"}}}}`, "$", prefix)
	if err := n.ask(ctx, http.MethodPost, "/"+stream+"/_search", query, &ends); err != nil {
		return err
	}
	got := Counts{Records: all.Count, Sessions: ends.Hits.Total.Value, Ends: int(ends.Aggregations.Records.Value), Shown: int64(ends.Aggregations.Shown.Value)}
	// The node that estest starts does not support this, but does not outlive the benchmark.
	_ = n.ask(ctx, http.MethodDelete, "/_data_stream/"+stream, "", new(struct{}))
	return got.Verify(f)
}

// ask sends a request to the node and decodes the answer.
func (n *Node) ask(ctx context.Context, method, path, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, n.URL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 500))
		return fmt.Errorf("%s %s: Elasticsearch answered %s: %s", method, path, answer.Status, said)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
