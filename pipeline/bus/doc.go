// Package bus is the only part of ttydrain that knows JetStream: the embedded server, the streams, the
// readers and the key-value buckets.
//
// # Streams
//
// TTY holds the chunks that the capture writes, LOGS the segments that the enricher writes; each has one
// subject per operation (see package schema). Both refuse new messages rather than delete old
// ones when they are full, which holds the sessions back.
//
// # Order and repeats
//
// Messages of one subject are in the order in which the stream took them. A publish that was refused or
// timed out is repeated by its caller and may then come after later ones: chunks carry their offsets so that
// readers put them in order. A repeat within two minutes of a message that was stored is recognised by
// its ID and not stored twice.
//
// Every reader has a position of its own in the positions bucket, and reads from it with an ordered consumer.
// Nothing is ever acknowledged to JetStream, so a reader that dies, or that works a message again, cannot change
// the order for itself or for others. Who may read for a piece of work, and move its position, is who has its
// [Lease].
//
// # Operation IDs
//
// An operation's ID is the sequence number that the operations bucket gives its record, under a key that
// is random: it is unique over all gateways and grows, with no counter of its own to keep.
//
// # Roles
//
// On a cluster a process has the streams and buckets of its [Role] alone, as a NATS user that may do no more than the role
// needs: the folder nats has the server's configuration, and [Apply] makes the streams for roles that may not. What the
// server refuses ends the call that needed it with a [RefusedError]. A refusal comes without the request that it belongs to, and
// is matched by its subject: of calls at the same time that need the same stream, all may end with the refusal of one.
//
// # Durability
//
// With the embedded server an acknowledged message is on the disk (sync always) unless the
// configuration trades that for speed; a cluster keeps replicas.
package bus
