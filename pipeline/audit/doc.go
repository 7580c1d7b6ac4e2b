// Package audit verifies whether the sessions in a drain's copy are complete and unaltered, and
// reports where they are not.
//
// Every record has a sequence, an offset, and the running SHA-256 digest of all bytes that were
// displayed up to its end (and, in syslog and on the stream, of all texts). The first record has a
// signature of the operation: the user, the app, the host and so on. The last record is signed: it
// contains the numbers of records and bytes, both digests, and two more over the fields and the
// timing of all records; checkpoints in between have the same so far. [Checker.Check] recomputes
// all of them in the order of the sequences. The first record that differs is the damaged one. To
// classify the damage, Check tries hypotheses: whether the next record follows nevertheless,
// whether a record from elsewhere belongs here, whether the text reveals the original bytes.
//
// # Guarantees
//
// [Result.Proven] lists what the signatures prove of a copy. Every field of a record is covered by
// one of its items. Other fields of an event are compared with its text, and a record's operation
// with the signed one, or in a copy of a version without signed starts with those of the other
// records. Duplicates and records in another order are not damage.
//
// # Limits
//
// An audit does not prove:
//
//   - That a session is in the copy at all: nothing in a copy refers to a session of which all
//     records are missing.
//   - Nanoseconds of times. Nor where a changed time, stream, detail or timing is, if it
//     contradicts nothing else in its record: the finding is a range.
//   - The bytes, in syslog without exact: true. There, the texts are proven, but neither offsets
//     nor digests of the bytes.
//   - Everything after a run of missing records, or after a record whose bytes cannot be
//     determined, since the digests depend on all earlier data. Only the continuity of sequences
//     and offsets is checked there, and further damage may remain undetected until the first is
//     repaired. A reported gap is such a run, too, and its author is not verified.
//   - Individual texts in a JSON copy, which has no text digests. That all texts together are the
//     signed ones is proven. To find the altered one, the texts are generated again from the bytes;
//     if they came from another version of ttydrain, the finding can be a range.
//
// Findings never quote content. They contain sequences, offsets and places only.
package audit
