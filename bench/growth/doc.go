// Package growth measures ttydrain as the work grows, over time and after failures: latency, memory
// of a router, fan-out to many drains, catching up, and cost by the number of sessions and lines.
//
// Each run sets up a scene: a flow, which is a process with the NATS server, the enricher and the
// router, and a witness, which checks every record that arrives.
package growth
