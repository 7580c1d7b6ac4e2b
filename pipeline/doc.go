// Package pipeline has the two loops that move what the sessions showed: the [Enricher], from chunks on the TTY
// stream to segments on LOGS, and the [Router], from LOGS to the drains.
//
// # What happens when a piece fails
//
//   - A process dies: each piece of its work (a partition to enrich; a drain and partition to deliver) is leased, and
//     another process has the lease within ten seconds and goes on at the position.
//   - The enricher dies: its successor reads TTY from the position that was kept, which never passes a
//     chunk of which a byte is unpublished, and goes on in each operation after the last segment that it
//     finds on LOGS. A second enricher at work at the same time is fenced off: a segment is stored only
//     behind the one that its publisher saw last.
//   - A drain fails: its worker waits and tries again in place, in order, while the other drains' workers
//     go on. What was sent and not confirmed is sent again: a drain gets each record at least once,
//     and a repeat is recognisable by operation ID and sequence.
//   - A message on a stream can't be read: it is passed over, told and counted. What is missing from a session then is
//     a gap record.
//   - The process is told to stop: the gateway first, then [Enricher.Drain], then [Router.Drain], so that what
//     people saw last is delivered too; what does not make it in time stays in the streams.
//
// # Acknowledgement
//
// One table, in acknowledge.go, says what a sink's answer leads to.
//
// # Operators
//
// What operators want of a drain (a pause, a rewind) goes through a bucket that the drain's workers watch, and how the
// drain stands comes back through another: see [Operator]. A rewind is noted with the position that it led to, so that it
// is followed once, whichever process has the lease.
package pipeline
