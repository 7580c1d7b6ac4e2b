// Package audit says of each session in a drain's copy whether it is complete and intact, and where
// it is not.
//
// Every record has its sequence and its offset, and the running SHA-256 digest of all bytes that
// were shown up to its end (and, in syslog and on the stream, of all texts). The last record is
// signed: how many records and bytes there were, and both digests. [Check] goes through a session
// in the order of the sequences, whatever order they came in, and computes all of it again. The
// first record at which it differs is where the damage is. What the damage is, it finds by trying:
// whether the next record follows all the same, whether the record of another place belongs here,
// whether the text tells what the bytes were.
//
// # What is proven
//
// Under the signature are the bytes, the texts, how many there are, and their order. The user
// document is signed by itself: it says who. The other fields of an event are held against its
// text, and a record's names (app, host, ...) against those of the other records. A repeat, and
// another order in which records came, are no damage.
//
// # What is not
//
//   - That a session is in the copy at all: nothing in a copy tells of one of which nothing is there.
//   - When something was shown: time and timing are not under the signature, nor is which of two streams it was on, nor are names
//     that are changed in every record in the same way.
//   - In syslog without exact: true, the bytes: what is proven there are the texts, and neither offsets nor digests of the bytes.
//   - What comes behind a run of records that are not there, or behind a record whose bytes can't be told: digests go on
//     from what was before. Whether sequences and offsets go on is looked at there; a second damage behind may not be seen before the
//     first is mended. A gap that the drain was told of is such a run, and says nothing of who made it.
//   - The text of a record in a copy with JSON, one by one: it has no digest of its texts. That all of them together
//     are what was signed is proven. Which of them is not, is found by making the texts again of the bytes; where another version
//     of ttydrain made them, the finding may name a range.
//
// No finding quotes content: it has sequences, offsets and places only.
package audit
