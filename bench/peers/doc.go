// Package peers measures the programs that ttydrain is compared with, and its limits.
//
// A peer is another log forwarder, which sends the same records to the same receiver, from a file
// or from a JetStream stream. A limit is a loop that sends prepared bytes: the highest rate that
// the receiver, or JetStream, allows. [Groups] lists all comparisons.
package peers
