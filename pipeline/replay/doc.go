// Package replay reads any drain's copy back into sessions.
//
// A copy is what a drain has: the files of an HTTPS or a syslog drain ([Files]), an Elasticsearch
// index or data stream ([Search]), or the LOGS stream itself ([Stream]). Its records may come in
// any order, more than once, and between others that are not ttydrain's. [Sessions] puts them
// together; [Session.Frames] tells what was shown when.
//
//	Files ──┐                                    ┌─► Frames ─► Asciicast
//	Search ─┼─► Record ─► Sessions ─► Session ───┼─► Timeline ─► Player ─► Filter ─► a terminal
//	Stream ─┘                                    └─► WriteText, WriteRecords, WriteCast
//
// A copy has what its drain got: syslog has no exact bytes without exact: true, and no format but
// the stream's has all of what a [schema.Record] has. [Lost] says what a record does not have;
// nothing is made up in its place.
//
// A syslog drain gets a record that is too long for one message in parts. A Copy reads each of them
// as a [Record] with its [Part]; Sessions joins them.
//
// The package trusts nothing that it reads, and judges nothing: two different records with one
// sequence are both in the Session, and [Record.Faults] has what contradicts itself in one. It
// writes no content into an error.
//
// # Hostile sessions
//
// What a session showed is by whoever was in it, and a terminal that gets it as it is can be made
// to answer with input to the auditor's shell. A [Player] and WriteCast give it to a [Filter]
// first, which says what passes.
//
// # Memory
//
// Sessions holds the records of a copy in memory up to 256 MiB, and beyond that in an unnamed
// temporary file that it divides by operation, so that the largest 1/256 of the copy has to fit, or
// its largest session. A copy that comes in the order of its operations, as Search's does, is held
// one session at a time.
package replay
