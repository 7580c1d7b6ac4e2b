// Package router delivers the segments on the LOGS stream to the drains. A [Router] has a worker
// for each drain and partition, so that a slow or dead drain delays no other.
//
// # Structure
//
// Each type uses only those to the right of it:
//
//	Router ─► worker ─► dispatcher, lossTracker ─► deliverer, position, window ─► quota, status, …
//
// TestOrder holds that order. From the top:
//
//   - A worker holds the lease, and follows the desired state of the drain.
//   - A dispatcher reads segments into a window, and hands batches to the deliverer. Batches in
//     flight have no operation in common.
//   - A lossTracker abandons segments that the stream is about to remove, and delivers gap records
//     about them.
//   - A deliverer writes a batch to the sink until every record is delivered or a dead letter.
//   - A position is saved under the lease: the sequence up to which everything is delivered, and
//     the records that were delivered ahead of it.
//
// # Acknowledgement
//
// One table (verdict.go) maps the outcome of a write to an action. Nothing is dropped. A drain
// receives each record at least once; a repeated record is recognisable by operation ID and
// sequence. The position is before the first record that the drain lacks. What was delivered ahead
// of it is saved when the work ends in order, and is not repeated; after a crash it is repeated,
// with the deliveries of the last quarter of a second.
//
// A failing drain is retried in place, in order, and only one of the batches in flight probes it. A
// message on LOGS that is unreadable is skipped, logged and counted.
//
// # Refused records
//
// An answer alone does not show whether a drain refuses one record or everything (isolate.go).
// Entries that are refused together are written in parts, down to one, which becomes a dead letter
// only if the drain accepts another record after that: another part of the batch, a batch of other
// operations, or a probe record. Otherwise the batch is parked: it keeps its place in the order of
// its operations, while batches of other operations are written. A dead letter is stored once for
// each drain and record, for as long as the stream keeps it.
//
// # Pace
//
// The size of a write follows the drain (pace.go): half after a timeout, a quarter after the next
// one in a row, and double while writes end within a quarter of the timeout. A size that was
// refused as a whole and accepted in parts is not tried again for some minutes.
//
// A drain with a large lag would keep all processors busy, and delay current output to all
// others. Its writes use at most as many processors at a time as there are (quota.go). On two
// processors it catches up at 0.7 million lines a second instead of 0.9, and the 99th percentile of
// the latency of others is 6 to 8 ms instead of 20 to 30; it is 2 ms otherwise.
//
// # Loss
//
// If a drain is dead, paused or gone for so long that the stream is about to remove undelivered
// segments, its worker abandons them a margin before that (retention.go), after a last attempt. It
// reads them again, and saves the missing records of each operation as pending gaps. The write that
// then moves the position commits these, so that the pending gaps of a worker that stops before it
// do not count (gapnote.go). Notes of gaps are saved and deleted by the revision that was read: a
// worker that has lost its lease cannot change those of its successor. When the drain accepts
// records again, it first receives the gap records, at least once: each before all later records of
// its operation. Acknowledged records are never part of a gap, unless their batch was not delivered
// as a whole and the worker's process died meanwhile.
//
// If no router runs for as long as the stream keeps data, it is unknown which segments were for the
// drain. That is logged and counted, and each operation whose first remaining record is not its
// first one gets an uncertain gap up to that record. Operations of which nothing remains are not
// reported. If a worker knows that its drain was up to date, and is back in time, removed segments
// of other drains are not reported as a loss; if it is back too late, they may be.
//
// # Configuration
//
// A new drain starts with what the stream has, and has no gaps. The filters by which a drain reads
// are saved with its position: they apply to segments after the change (position.go).
//
// # Operators
//
// The desired state of a drain (a pause, a rewind, that it is gone) is in a bucket that its workers
// watch, and they publish their status in another one: see package operate. The ID of a rewind is
// saved with the position, so that it is followed once, whichever process has the lease. A rewind
// moves the position forward past undelivered records only if the operator says so, and they become
// gaps.
package router
