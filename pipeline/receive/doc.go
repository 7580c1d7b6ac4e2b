// Package receive implements a local HTTPS and syslog-over-TLS receiver that hands over all records
// it receives. It is used to try out a drain, by the demonstration and by tests.
//
// A [Receiver] creates its own certificate authority, so that a drain only needs its ca.pem. It
// accepts what ttydrain's sinks write, strictly: data that violates its protocol is refused with
// the reason and never repaired. A [Printer] displays the received records.
//
//	client ─► HTTPS  ─► body ─► JSON objects ─┐
//	                                          ├─► one at a time ─► Options.Handle
//	client ─► TLS ─► frames ─► RFC 5424 ──────┘
//
// It stores nothing, and is not meant for untrusted networks.
package receive
