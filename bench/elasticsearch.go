package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// elasticsearchDrain is the way to a real Elasticsearch node, which stores and indexes what it gets. Each run has a data
// stream of its own.
type elasticsearchDrain struct {
	share    float64
	settings *settings
	node     *estest.Node // of prepare
	runs     int
}

func elasticsearchDrains() group { return group{&elasticsearchDrain{share: 0.1}} }

func (d *elasticsearchDrain) name() string { return "elasticsearch" }

func (d *elasticsearchDrain) prepare(_ context.Context, s *settings) (err error) {
	d.settings = s
	if d.node, err = estest.Open(estest.Options{}); err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		return &missingError{"no Elasticsearch node: " + reason}
	}
	return nil
}

func (d *elasticsearchDrain) close() {
	if d.node != nil {
		d.node.Stop()
	}
}

// run measures until the node has confirmed every record, each of which it then has on its disk.
func (d *elasticsearchDrain) run(ctx context.Context) (sample, error) {
	stream := fmt.Sprintf("logs-ttydrain-bench-%d-%d", time.Now().Unix(), d.runs)
	setup := pipelineSetup{Drain: drainSetup{Type: "elasticsearch", Address: d.node.URL, DataStream: stream}}
	p, err := startPipeline(ctx, d.settings, d.name(), setup, d.share, d.runs)
	if err != nil {
		return nil, err
	}
	defer p.end()
	d.runs++
	began := time.Now()
	if err := p.ask(askGo, new(pipelineAnswer)); err != nil {
		return nil, err
	}
	if err := p.ask(askDelivered, new(pipelineAnswer)); err != nil {
		return nil, err
	}
	took := time.Since(began)
	used, err := p.stop()
	if err != nil {
		return nil, err
	}
	records, err := d.count(ctx, stream)
	if err != nil {
		return nil, err
	}
	if err := p.check(records); err != nil {
		return nil, err
	}
	return p.sample(took, used), nil
}

// count says how many documents a data stream has, and removes it.
func (d *elasticsearchDrain) count(ctx context.Context, stream string) (int, error) {
	var got struct{ Count int }
	if err := d.ask(ctx, http.MethodPost, "/"+stream+"/_refresh", new(struct{})); err != nil {
		return 0, err
	}
	if err := d.ask(ctx, http.MethodGet, "/"+stream+"/_count", &got); err != nil {
		return 0, err
	}
	// The node that estest starts does not know how, and is thrown away.
	_ = d.ask(ctx, http.MethodDelete, "/_data_stream/"+stream, new(struct{}))
	return got.Count, nil
}

// ask sends a request without a body to the node, and decodes the answer.
func (d *elasticsearchDrain) ask(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, d.node.URL+path, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: Elasticsearch answered %s", method, path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
