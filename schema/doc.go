// Package schema says what a recorded session is made of, and how each piece looks on the wire.
//
//   - [Operation]: who opened which session, the audit unit. Its ID is on everything else.
//   - [Chunk]: what the capture writes to the TTY stream: exact bytes with their times, and the
//     session's events, as [Frame]s. One subject per operation.
//   - [Record]: one line (or event) of a session, as a drain gets it.
//   - [Segment]: a run of one operation's consecutive records with the operation once; what the
//     enricher writes to the LOGS stream.
//
// Chunks and segments have a compact binary form, of which a released version is never changed:
// the first byte is the version, and testdata/v1 holds golden files that every later version must
// read. Records have a JSON form ([Encoder]), described by the JSON Schema in record.schema.json.
//
// The package imports the standard library only, so that anything may import it.
package schema
