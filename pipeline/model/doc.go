// Package model holds formal models of the protocol, written in Promela, and the test that checks
// them with spin.
//
// enrich.pml models the path from a gateway through the TTY stream and two enrichers to the LOGS
// stream. route.pml models the path from LOGS through two workers to a drain, with abandoned
// segments and gap records. The checks are exhaustive within the bounds of each configuration in
// the test: a few chunks or segments, and a number of crashes, expired leases and lost messages.
// They assert:
//
//   - Output that was shown is on LOGS, once and in order, before the end of its session.
//   - A position never passes a chunk that is not on LOGS, nor a segment that is neither delivered
//     nor part of a gap note or a gap record.
//   - A drain receives the first copies of an operation's records in order, and none of them after
//     a gap record that covers it.
//
// The models leave out partial failures of a stream, clocks, and more than one partition. Change
// the model when you change the protocol. Each fault switch of a model removes one rule of the
// protocol, and the test then expects a violation, so that a model that asserts nothing is noticed.
package model
