// Package receive is a local end of the line: an HTTPS and a syslog-over-TLS receiver that hand
// over whatever they get, for trying a drain out, for the demonstration and for tests.
//
// A [Receiver] makes its own certificate authority, so that a drain needs no more than its ca.pem.
// It reads what ttydrain's sinks write, and is strict about it: what breaks a rule of its protocol
// is refused with the reason, and never repaired. A [Printer] shows what was received to a person.
//
//	client ─► HTTPS  ─► body ─► JSON objects ─┐
//	                                          ├─► one at a time ─► Options.Handle
//	client ─► TLS ─► frames ─► RFC 5424 ──────┘
//
// It keeps nothing, and is not meant to face a network that is not trusted.
package receive
