// Package drain describes a configured drain: which session logs it receives, how its sinks are
// opened, how the connection to it is tested, and how its lag is counted. Package router delivers
// to drains, and package operate controls them. A new type of drain is a new sink: see package
// sinks.
//
// # Lag
//
// Lag is counted in records. Those that a drain's worker has read are known; those of later
// segments are counted from the headers of their messages, which the enricher writes: see [Tally].
package drain
