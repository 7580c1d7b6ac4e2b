package elasticsearch

import (
	"fmt"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	for _, gzip := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzip %v", gzip), func(t *testing.T) { testConformance(t, gzip) })
	}
}

// testConformance runs the whole suite without compression, as is the default. With it, -short leaves
// it out: the tests of proxies and repeats compress too.
func testConformance(t *testing.T, gzip bool) {
	if gzip && testing.Short() {
		t.Skip("long")
	}
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		node := nodes.Node(t, estest.Options{})
		dataStream := node.DataStream(t)
		proxy := sinktest.NewProxy(t, hostPort(t, node))
		sink, err := New(Options{URLs: []string{"http://" + proxy.Address()}, DataStream: dataStream, ManageTemplate: true, Gzip: gzip})
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
		return sinktest.Target{Sink: sink, Proxy: proxy, Received: received, Bytes: true, Deduplicates: true}
	})
}
