// Package pipeline has no code. It describes how the packages below it carry the output of sessions
// to the log drains:
//
//	gateway ─► session ─► [TTY] ─► enricher ─► [LOGS] ─► router ─► drain, drain, …
//
// The packages, in the order of the data:
//
//   - Package gateway is the SSH server, and package access decides who may open which app. Package
//     session runs and captures sessions: output is shown to the user after it is stored on the TTY
//     stream, in chunks of exact bytes. Package session/busstore connects it to the bus.
//   - Package enricher turns chunks into segments of records, and publishes them to the LOGS
//     stream.
//   - Package router delivers LOGS to each drain, from the drain's own position. Package drain
//     describes a configured drain.
//   - Package reclaim removes delivered messages from a stream that is nearly full.
//   - Package bus is the only one that uses JetStream: streams, positions, leases, and the buckets
//     by which processes exchange desired states and statuses.
//   - Package operate implements the operations of operators and auditors, and package admin serves
//     them.
//   - Package replay reads a drain's copy back, and package audit verifies it.
//   - Package config reads the configuration, and config/reload applies its changes.
//
// Package model has formal models of the enricher and the router.
//
// # Failures
//
// Each piece of work (a partition to enrich; a drain and partition to deliver) is leased. When a
// process dies, another one acquires the lease within ten seconds, and resumes at the saved
// position. The packages enricher and router describe their other failures.
//
// # Shutdown
//
// The gateway stops first, then the enricher drains, then the router, so that the last output of
// sessions is delivered too. Records that are not delivered in time stay in the streams.
package pipeline
