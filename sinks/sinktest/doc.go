// Package sinktest is the conformance suite that every sink passes, against its real drain.
//
// A sink's test opens a sink that connects to its drain through a [Proxy], and a function that
// reads the records of the drain:
//
//	func TestConformance(t *testing.T) {
//		sinktest.Run(t, func(t *testing.T) sinktest.Target {
//			drain := startDrain(t)
//			proxy := sinktest.NewProxy(t, drain.Address)
//			sink, err := New(Options{Address: proxy.Address(), …})
//			…
//			return sinktest.Target{Sink: sink, Proxy: proxy, Received: drain.Received, Bytes: true}
//		})
//	}
package sinktest
