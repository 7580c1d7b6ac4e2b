// Package syslog is the sink for syslog servers: RFC 5424 messages over TCP with TLS (RFC 5425),
// framed by octet counting (RFC 6587 §3.4.1) or, as an option, by newlines (§3.4.2). As another
// option they are sent by RELP over TLS.
//
// # The line
//
// Each record is one message:
//
//	<PRI>1 TIMESTAMP HOST APP OPERATION_ID EVENT [session@32473 …][meta sequenceId="…"] TOKEN operation_id=… TEXT
//
// HOST is the gateway, APP the app, OPERATION_ID (PROCID) the operation, EVENT (MSGID) one of
// start, output, resize, end, gap, input, transfer and checkpoint. A gap has at least the severity
// warning. In these fields "_" replaces each character that is not printable ASCII, values are
// truncated to the lengths of RFC 5424 §6, and "-" stands for an empty one. TIMESTAMP has six
// decimals, the maximum (§6.2.3): nanoseconds are truncated.
//
// The structured data "session@32473" has, in this order: operation_id, sequence, offset, digest,
// text_digest; stream="stderr", partial="true" and altered="true" where they apply; event, if it
// is input, transfer, checkpoint, or a signed start or gap, which no other parameter shows if a
// copy has lost the header; the details of the event (for a start interactive, width, height,
// command, the origin, signature; for an end exit_status, reason, bytes, signature); and with
// [Options.Exact] log_base64, the exact bytes, and timing. The user is not part of it: the
// operation's ID leads to the user, and the signature of the start names it. 32473 is the
// enterprise number reserved for examples (RFC 5612).
//
// sequenceId (§7.3.1) is the record's sequence in its operation, so that a repeat is recognisable
// by it and the operation ID. Its range is 1 to 2147483647: record 2147483648 has 1 again, and the
// parameter "sequence" distinguishes them.
//
// The message has no byte order mark, which §6.4 allows ("MSG-ANY"): rsyslog and syslog-ng would
// show it as three bytes of text. It is UTF-8 nevertheless.
//
// # Parts
//
// Receivers may truncate messages (§6.1): they must accept 480 bytes, should accept 2 KiB, and by
// default accept 8 KiB (rsyslog) or 64 KiB (syslog-ng). A record whose message is longer than
// [Options.MaxMessageBytes] is therefore sent in parts. Each part is a message of its own with the
// same header, digests, short parameters and sequenceId. After altered it has part="2/5", the
// number of the part and of all parts, and part_offset. The number is repeated before the text:
//
// … [session@32473 … part="2/5" part_offset="7012" …][meta sequenceId="…"] TOKEN operation_id=…
// part=2/5 TEXT
//
// The parts divide the text, command, reason, ended_by, ended_because, path, input_base64,
// signature, log_base64 and timing, in this order, so that the first parts have the text. No part
// ends within a character, an escape or a group of base64. The pieces of a field, in the order of
// the parts, are its value: base64 is decoded piece by piece or joined. part_offset is the number
// of bytes in the parts before, with escapes and base64 undone. A part is recognisable as a repeat
// by operation ID, sequence, part and part_offset: after a change of the limit, the parts of a
// record that is sent again are others.
//
// Whatever a record holds, a line has no control character in it: neither C0, DEL or C1 controls
// nor U+2028 and U+2029. A tab and these two become a space, each of the others U+FFFD, as does
// each byte that is not valid UTF-8. The enricher has done the same to texts; if one is changed
// here nevertheless, it does not match text_digest, and has altered="true". Characters that
// override, embed or isolate the direction of writing (U+202A to U+202E, U+2066 to U+2069) become
// U+FFFD in structured data, where they would reverse the rest of the line. In TEXT they stay:
// nothing follows, and scripts need them.
//
// For services that expect the token as structured data, it is an element of its own, the first:
// see [Options.TokenEnterprise].
//
// # Delivery
//
// Syslog has no acknowledgement, and a write that returns means only that this machine's kernel has
// the bytes. A batch counts as delivered when the drain's kernel has acknowledged every byte of it
// on a connection that is still open in both directions. If the connection breaks earlier, the
// whole batch is reported as not delivered. A slow drain has unlimited time, as long as its kernel
// acknowledges something within [Options.Timeout]. When it does not, the records acknowledged until
// then are reported as delivered, the connection is closed, and the caller has to deliver the
// others.
//
// Kernels delay acknowledgements, by 40 ms on Linux, and the next batch would wait for them: the
// last byte of a batch is sent in a TLS record of its own, which most kernels acknowledge at once.
//
// Acknowledged bytes can still be lost: when the syslog server is killed before it has read them,
// or when a load balancer has accepted the connection and its server is down. Delivered batches are
// therefore kept until their connection has proven itself by staying open for
// [Options.ConnectionGrace] (beyond 8 MiB, only the last batch is kept). If the drain ends a
// connection earlier, the next Write returns Retry. The one after that resends the kept batches
// before its own, with the same sequenceIds, and returns only when that connection has proven
// itself, or Retry again. If no batch follows, a Write without entries does the same. Each
// connection thus costs at most one repeat of the kept batches and of one more.
//
// What this does not guarantee: if this process ends, the drain's settings change or another
// process takes the drain over before the repeat, if the server or the load balancer takes longer
// than the grace time before it ends the connection, or if a load balancer buffers more than 8 MiB,
// such bytes are lost, and a server's own queue can lose messages that it had read. Syslog over TCP
// has no remedy for this. The gap shows in the sequences, and the records can be redelivered.
//
// Outside Linux the acknowledgements cannot be queried: there a batch counts as delivered when this
// machine's kernel has it and the connection is open, so a connection that breaks then loses the
// bytes in flight.
//
// # RELP
//
// In the Reliable Event Logging Protocol of rsyslog (omrelp, imrelp), the server answers each
// message when it has queued it. A record is delivered when all its messages are answered with 200;
// none of the above applies. Up to 1024 messages are sent ahead of the responses. When the
// connection ends, the records without a response are left to the caller, in their order: those
// that the server has, and whose answers are lost, arrive twice. Whether the server's queue can
// lose messages depends on that queue: rsyslog's default queue is in memory.
//
// There is no well-maintained client for RELP in Go. The protocol is small: see relp.go.
//
// # The library
//
// The priorities are those of github.com/RackSec/srslog, whose framers are the reference that this
// package's framing is tested against. Its Writer is not used: it sends message by message,
// reconnects without an error when a write fails, and then sends only the last message again. Its
// functions pass strings, and the copies of those would cost as much as making the line does: this
// package appends each message to the batch in place (BenchmarkEncode).
package syslog
