// Package enricher turns the chunks on the TTY stream into segments on the LOGS stream: it
// assembles lines, and attaches the metadata of the operation. See package enrich for the content
// of the records, and package router for what follows.
//
// The streams are divided into partitions. Each partition has one enricher at a time, which holds
// its lease. The order of an operation is kept because all of it is in one partition.
//
// # Failures
//
//   - An enricher's process dies: another process acquires the lease within ten seconds. It reads
//     TTY from the saved position, which never passes a chunk with an unpublished byte, and
//     continues each operation after its last segment on LOGS.
//
//   - Two enrichers work on a partition at the same time, because one of them has not noticed that
//     it lost the lease: a segment is stored only directly after the one that its publisher saw
//     last, so that one of them fails.
//
//   - A chunk is stored after its successors, since its publish was retried: they wait for it. So
//     do the chunks of an operation whose start was stored late, or whose last segment is unknown
//     to a lagging replica. A chunk counts as missing only after half a minute, and if everything
//     on the stream was read.
//
//   - A message on TTY is unreadable: it is skipped, logged and counted. What is missing from the
//     session becomes a gap record.
//
//   - LOGS is full: the enricher waits, and chunks wait on TTY.
package enricher
