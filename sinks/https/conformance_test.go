package https

import (
	"testing"

	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings settings
		options  Options
	}{
		{"json over HTTP 2", settings{}, Options{}},
		{"json over HTTP 1.1", settings{http1: true}, Options{}},
		{"ndjson over HTTP 2 with gzip", settings{}, Options{Format: NDJSON, Gzip: true}},
		{"array over HTTP 1.1 in small requests", settings{http1: true}, Options{Format: Array, MaxRequestBytes: 128 << 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T) sinktest.Target {
				d := newDrain(t, c.settings)
				proxy := sinktest.NewProxy(t, d.server.Listener.Addr().String())
				options := c.options
				options.URL = "https://" + proxy.Address() + "/logs"
				options.TLS.CAFile = d.authority.File
				sink, err := New(options)
				if err != nil {
					t.Fatal(err)
				}
				return sinktest.Target{Sink: sink, Proxy: proxy, Received: d.received, Bytes: true, Concurrent: true, Requests: c.options.Format != "" && !c.options.Gzip}
			})
		})
	}
}
