// Package model holds formal models of the protocol, in Promela, and the test that checks them with
// spin.
//
// enrich.pml models the way from a gateway through the TTY stream and two enrichers to the LOGS
// stream; route.pml that from LOGS through two workers to a drain, with abandoned segments and gap
// records. The checks are exhaustive within the bounds of each configuration in the test: a few
// chunks or segments, and a number of crashes, expired leases and lost messages. What they assert
// is:
//
//   - Output that was shown is on LOGS, once and in order, before the end of its session.
//   - A position never passes what is not on LOGS, or not at the drain, in a gap note or in a gap record.
//   - Records of an operation reach a drain first in their order, and not after a gap record about them.
//
// They do not model partial failures of a stream, clocks, or more than one partition. A change of
// the protocol changes its model. Each fault switch of a model removes one rule of the protocol;
// the test expects a violation then, so that a model that asserts nothing is noticed.
package model
