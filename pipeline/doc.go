// Package pipeline has the two loops that move what the sessions showed: the [Enricher], from
// chunks on the TTY stream to segments on LOGS, and the [Router], from LOGS to the drains. The
// package model has formal models of both.
//
// # What happens when a piece fails
//
//   - A process dies: each piece of its work (a partition to enrich; a drain and partition to deliver) is leased, and
//     another process has the lease within ten seconds and goes on at the position.
//
//   - The enricher dies: its successor reads TTY from the position that was kept, which never passes a
//     chunk of which a byte is unpublished, and goes on in each operation after the last segment that it
//     finds on LOGS. A second enricher at work at the same time is fenced off: a segment is stored only
//     behind the one that its publisher saw last.
//
//   - A chunk is stored after its successors, since its publish was repeated: those wait for it. So do the chunks of an
//     operation whose start was stored late, or whose last segment a lagging replica does not know yet. A chunk is missing
//     only once half a minute has passed and the stream has nothing that was not read (operation.go).
//
//   - A drain fails: its worker waits and tries again in place, in order, while the other drains' workers
//     go on. What was sent and not confirmed is sent again: a drain gets each record at least once,
//     and a repeat is recognisable by operation ID and sequence. Of the writes that are under way at a time, each of other
//     operations, only one tries a drain that fails. The position is before the first record that the drain does
//     not have. What it has behind that is noted where the work ends in order, and is not repeated; where a process is killed, it
//     comes again, with what was delivered in the last quarter of a second.
//
//   - A message on a stream can't be read: it is passed over, told and counted. What is missing from a session then is
//     a gap record.
//
//   - The process is told to stop: the gateway first, then [Enricher.Drain], then [Router.Drain], so that what
//     people saw last is delivered too; what does not make it in time stays in the streams.
//
//   - A drain is dead, paused or gone for so long that the stream will remove what it does not have: its worker gives
//     that up a margin before (retention.go), after a last try. It reads those segments once more and writes the missing
//     records of each operation to a note, as pending gaps. The write that then moves the position commits them, so that
//     a worker that stops before it leaves gaps that do not count (gapnote.go). Notes are saved and deleted by the revision
//     that was read: a worker whose lease is over cannot change those of its successor. When the drain takes records again,
//     it first gets the gap records, at least once: each before all later records of its operation. Records that the drain
//     acknowledged are in no gap, unless the batch was never delivered as a whole and the worker's process died meanwhile.
//
//   - No router runs for as long as the stream keeps data: nobody could note what was missing. It is told and
//     counted, and each operation that is still there without its first record gets an uncertain gap, from where the
//     drain's copy ends, which nobody knows, to its first record that is left. An operation of which nothing is left is not
//     told of at the drain. Where a worker knows that its drain was up to date, and is back in time, it does not take
//     messages that were for other drains for such a loss; where it is back too late, it may.
//
// A new drain begins with what the stream has, and has no gaps. The filters by which a drain reads
// stand beside its position: where they are others, the position says nothing of what came behind
// it (position.go).
//
// # Acknowledgement
//
// One table, in verdict.go, says what a sink's answer leads to. A dead letter is kept once for
// each drain and record, for as long as the stream keeps it.
//
// No answer says by itself whether a drain refuses a record or everything (isolate.go). Entries
// that are refused together are written in parts, down to one, which becomes a dead letter only if
// the drain accepts another record after that. What shows it is a part of the same batch, a batch
// of other operations, or a probe record. Otherwise the batch is parked: it keeps its place in the
// order of its operations, while batches of others are tried.
//
// # Pace
//
// The size of a write follows the drain (pace.go): half after a timeout, a quarter after the next
// one in a row, and double while it ends within a quarter of the timeout. A size that was refused
// as a whole and accepted in parts is not tried again for some minutes.
//
// # Lag
//
// What a drain does not have is counted in records. Those that its worker has read are known; those
// behind are counted by the heads of the segments' messages, which the enricher writes, once each
// (lag.go), also while there is no room to read more.
//
// # Streams that are nearly full
//
// TTY and LOGS give up their oldest delivered messages, operation by operation, when they are
// nearly full, and the disk of an embedded server is likewise relieved: chunks up to the enricher's
// position, and segments before the first one that a drain lacks, which any router computes from
// the positions of all drains. The last message of an operation that has not ended stays: the
// enricher resumes from the segment, and the chunk says where a missing end belongs (reclaim.go).
// While LOGS has no room, the enricher waits, and chunks wait on TTY.
//
// # Catching up
//
// A drain that is far behind would keep all processors busy, and then what is shown now would be
// late at all others: its writes use as many processors at a time as there are, which leaves room
// for what others wait for, and still is faster than anything is enriched (quota.go). On two
// processors it catches up at 0.7 million lines a second in the place of 0.9, and the 99th
// percentile of the others is 6 to 8 ms in the place of 20 to 30; it is 2 ms otherwise.
//
// # Operators
//
// What operators want of a drain (a pause, a rewind), and that it has told that it is gone, goes
// through a bucket that the drain's workers watch, and how the drain stands comes back through
// another: see [Operator]. A rewind is noted with the position that it led to, so that it is
// followed once, whichever process has the lease. It moves the position forward past undelivered
// records only where the operator says so, and then they become gaps (worker.go).
package pipeline
