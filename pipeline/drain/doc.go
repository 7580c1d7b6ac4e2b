// Package drain has the drain as it is configured: which session logs it receives, how its sinks
// are opened, a test of the connection to it, and how its lag is counted. Package router delivers
// to drains, and package operate is for their operators.
//
// # Lag
//
// What a drain lacks is counted in records. Those that its worker has read are known. The records
// of later segments are counted once each by the headers of their messages, which the enricher
// writes: see [Tally].
package drain
