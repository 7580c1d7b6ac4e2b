package drains

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// An ElasticsearchDrain is measured from the TTY stream to an Elasticsearch node.
type ElasticsearchDrain struct {
	share    float64
	node     *receivers.Node
	settings *measure.Settings
	runs     int
}

// NewElasticsearch returns the drain that delivers to a node.
func NewElasticsearch(share float64, n *receivers.Node) *ElasticsearchDrain {
	return &ElasticsearchDrain{share: share, node: n}
}

func (d *ElasticsearchDrain) Name() string { return "elasticsearch" }

func (d *ElasticsearchDrain) Prepare(_ context.Context, s *measure.Settings) error {
	d.settings = s
	return d.node.Open()
}

func (d *ElasticsearchDrain) Close() { d.node.Close() }

// Run measures until the node has acknowledged every record, which is then durable.
func (d *ElasticsearchDrain) Run(ctx context.Context) (measure.Sample, error) {
	stream, err := d.node.NewDataStream(ctx)
	if err != nil {
		return nil, err
	}
	setup := pipelineSetup{Drain: Target{Type: "elasticsearch", Address: d.node.URL, DataStream: stream}}
	p, err := startPipeline(ctx, d.settings, d.Name(), setup, d.share, d.runs)
	if err != nil {
		return nil, err
	}
	defer p.end()
	d.runs++
	began := time.Now()
	if err := p.Ask(AskGo, new(process.Usage)); err != nil {
		return nil, err
	}
	if err := p.Ask(askDelivered, new(process.Usage)); err != nil {
		return nil, err
	}
	took := time.Since(began)
	stopped, err := p.stop()
	if err != nil {
		return nil, err
	}
	if err := d.node.Verify(ctx, stream, "", p.filled); err != nil {
		return nil, err
	}
	return receivers.NewSample(p.filled, took, stopped.Processor, stopped.PeakMemory, receivers.Counts{Records: p.filled.Records}), nil
}
