// Package drains measures ttydrain from the TTY stream to one drain.
//
// A child process fills the TTY stream of an embedded NATS server, then runs the enricher and the
// router until the receiver has every record.
package drains
