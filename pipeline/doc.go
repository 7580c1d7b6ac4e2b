// Package pipeline has no code. It is the map of the packages below it, which carry the output of
// sessions to the log drains:
//
//	ssh ─► gateway ─► session ─► [TTY] ─► enricher ─► [LOGS] ─► router ─► sinks ─► drain, drain, …
//	                  sandbox    chunks   enrich      segments   drain
//	                  docker     of bytes             of records
//
// # The path of the data
//
//   - Package gateway is the SSH server. It asks package access who may open which app, and access
//     asks package identity about certificates and tokens.
//   - Package session runs a session and captures it: output is shown to the user after it is
//     stored on the TTY stream, in chunks of exact bytes. Packages session/sandbox and
//     session/docker are the runtimes, package session/busstore connects sessions to the bus, and
//     package transfer observes file transfers.
//   - Package enricher turns chunks into segments of records, with the pure functions of package
//     enrich, and publishes them to the LOGS stream.
//   - Package router delivers LOGS to each drain, from the drain's own position, through a sink:
//     see package sinks. Package drain describes a configured drain.
//   - Package reclaim removes delivered messages from a stream that is nearly full.
//   - Package bus is the only one that uses JetStream: streams, positions, leases, and the buckets
//     by which processes exchange desired states and statuses. Package schema has the types and the
//     forms of everything that is on it.
//
// # Around it
//
//   - Package operate implements the operations of operators and auditors, which package trail
//     records. Package admin serves them to commands and, in admin/console, to browsers. Package
//     endpoint reaches that server, admin/client calls it, and login keeps the addresses and
//     tokens that a user has saved.
//   - Package replay reads a drain's copy back, package audit verifies it, and package report
//     writes signed reports of the verdicts. Package receive is a receiver for trying drains out.
//   - Package config reads the configuration, and config/reload applies its changes. Packages
//     setup, clusterkeys and authority create first configurations, keys and certificates.
//   - Package client is the SSH client, and package demo the demo.
//   - Packages resources, measure, tracing, buildinfo and timeflag serve all of them.
//   - Package model has formal models of the enricher and the router.
//
// Command ttydrain (cmd/ttydrain) connects all of them.
//
// # Where to add
//
//   - a type of drain, or a preset for a provider: see package sinks
//   - a runtime for sessions: see package session, "Runtimes"
//   - a command: see command ttydrain, "Adding a command"
//   - a setting: see package config
//   - a package: it needs a row in the table of imports (imports_test.go), which go one way
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
