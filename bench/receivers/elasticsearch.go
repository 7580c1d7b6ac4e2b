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

// A node is a real Elasticsearch node, which stores and indexes what it gets. All that is compared
// shares it, and each run has a data stream of its own, with the mapping that ttydrain gives it. It
// is for one goroutine.
type Node struct {
	URL     string // while it is open
	started *estest.Node
	streams int
}

// open starts the node, if it does not run.
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

// close stops it.
func (n *Node) Close() {
	if n.started != nil {
		n.started.Stop()
		n.started = nil
	}
}

// newDataStream names a data stream that the first record will make.
func (n *Node) NewDataStream(ctx context.Context) (string, error) {
	n.streams++
	stream := fmt.Sprintf("logs-ttydrain-bench-%d-%d", time.Now().Unix(), n.streams)
	name, body := elasticsearch.IndexTemplate(stream)
	if err := n.ask(ctx, http.MethodPut, "/_index_template/"+name, string(body), new(struct{})); err != nil {
		return "", err
	}
	return stream, nil
}

// indexed says how many documents a data stream has taken, searchable or not.
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
	// By a pattern, so that one which is not there yet has none.
	err := n.ask(ctx, http.MethodGet, "/"+stream+"*/_stats/indexing?filter_path=_all.primaries.indexing.index_total", "", &got)
	return got.All.Primaries.Indexing.Total, err
}

// exactly holds the documents of a data stream, whose fields' names have a prefix, against what was
// sent, and removes it.
func (n *Node) Verify(ctx context.Context, stream, prefix string, f corpus.Filling) error {
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
	got := Received{Records: all.Count, Sessions: ends.Hits.Total.Value, Ends: int(ends.Aggregations.Records.Value), Shown: int64(ends.Aggregations.Shown.Value)}
	// The node that estest starts does not know how, and is thrown away.
	_ = n.ask(ctx, http.MethodDelete, "/_data_stream/"+stream, "", new(struct{}))
	return got.Verify(f)
}

// ask sends a request to the node, and decodes the answer.
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
