// Package schema defines the data model of recorded sessions and its wire formats.
//
//   - [Operation]: the unit of audit: who opened which session. Its ID is in everything below.
//   - [Chunk]: a message of the TTY stream, written by the capture: exact bytes with their times,
//     and the session's events, as [Frame]s. Each operation has one subject.
//   - [Record]: one line or event of a session, as drains receive it.
//   - [Segment]: a message of the LOGS stream, written by the enricher: a run of one operation's
//     consecutive records, with the operation once.
//
// The enricher turns chunks into segments of records, and the router delivers the records to the
// drains. Processes exchange the other types, such as [Session], [Slot], [Kill], [DrainControl],
// [DrainState] and [DrainGaps], through KV buckets, and [DeadLetter] through a stream of its own.
//
// Chunks and segments have a compact binary form, which never changes for a released version: the
// first byte is the version, and testdata/v1 holds golden files that every later version must read.
// Records have a JSON form ([Encoder]), described by the JSON Schema in record.schema.json.
//
// The package only imports the standard library, so that any package can import it.
package schema
