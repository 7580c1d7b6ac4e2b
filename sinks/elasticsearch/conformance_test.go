package elasticsearch

import (
	"testing"

	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return conformanceTarget(t, nodes.Node(t, estest.Options{})) })
}

func conformanceTarget(t *testing.T, node *estest.Node) sinktest.Target {
	dataStream := node.DataStream(t)
	proxy := sinktest.NewProxy(t, hostPort(t, node))
	sink, err := New(Options{URLs: []string{"http://" + proxy.Address()}, DataStream: dataStream, ManageTemplate: true})
	if err != nil {
		t.Fatal(err)
	}
	received := func(t *testing.T, want int) []sinktest.Got {
		t.Helper()
		// Write returns when the documents are there; a search sees them after a refresh.
		found := search(t, node, dataStream, nil)
		if len(found) < want {
			t.Fatalf("the data stream holds %d records, want %d", len(found), want)
		}
		got := make([]sinktest.Got, len(found))
		for i, d := range found {
			got[i] = sinktest.Got{OperationID: d.OperationID, Sequence: d.Sequence, Event: d.Event, Log: d.bytes(t), Text: d.Text}
		}
		return got
	}
	return sinktest.Target{Sink: sink, Proxy: proxy, Received: received, Bytes: true, Deduplicates: true, Concurrent: true, Requests: true}
}
