// Package replay reconstructs sessions from the copy that a drain holds.
//
// A copy is the data that a drain has received: the files of an HTTPS, syslog or file drain
// ([Files]), an Elasticsearch index or data stream ([Search]), or the LOGS stream itself
// ([Stream]). Records may be in any order, duplicated, and mixed with other data. [Sessions] groups
// and sorts them, and [Session.Frames] returns a session's output with its times.
//
//	Files ──┐                                    ┌─► Frames ─► Asciicast
//	Search ─┼─► Record ─► Sessions ─► Session ───┼─► Timeline ─► Player ─► Filter ─► a terminal
//	Stream ─┘                                    └─► WriteText, WriteRecords, WriteCast
//
// Copies are incomplete by nature: syslog has the exact bytes only with exact: true, and only the
// stream has all fields of a [schema.Record]. [Lost] lists the fields that a copy does not have;
// they are never invented.
//
// A syslog drain receives a long record in several messages. A Copy reads each of them as a
// [Record] with a [Part]; Sessions joins them.
//
// The package does not trust its input and does not verify it: if two records with the same
// sequence differ, the Session has both, and [Record.Faults] lists contradictions within a record.
// Errors never contain session content.
//
// # Hostile sessions
//
// The content of a session is controlled by its user. Written to a terminal unfiltered, it can make
// the terminal send input to the auditor's shell. [Player] and [WriteCast] therefore pass it
// through a [Filter], which documents its allowlist.
//
// # Memory
//
// Sessions buffers up to 256 MiB of records in memory. Beyond that it moves them to unnamed
// temporary files, divided by operation, and then needs memory for the largest of the 256 files.
// The sessions of a copy that is grouped by operation, such as a Search, are processed one at a
// time.
package replay
