// Package bus is the only part of ttydrain that uses JetStream: the embedded server, the streams,
// the readers and the key-value buckets.
//
// # Streams
//
// TTY holds the chunks that the capture writes, LOGS the segments that the enricher writes; each
// operation has one subject on each (see package schema). DEADLETTER has one subject for each
// record that a drain permanently refuses, and AUDIT one for each kind of action of operators. When
// full, all streams except AUDIT refuse new messages instead of deleting old ones, which holds the
// sessions back; before that, package reclaim removes delivered messages. Messages older than the
// retention are removed; existing streams adopt the configured retention when a process connects.
// Nothing is published on a subject of LOGS whose last segment was removed: the retention exceeds
// the duration of any session, and the last message of an operation that has not ended is never
// removed as delivered.
//
// # Limits and full disks
//
// The streams are as large as Options.MaxBytes and the disk allow. On the disk of an embedded
// server, a reserve of a twentieth of its size, between 4 and 256 MiB, stays free: when it is
// reached, new sessions and output are refused with [ErrFull], segments and dead letters when half
// of it is left, positions and ends of sessions when a quarter is left.
//
// Before TTY reaches its limit, or the disk its reserve, there is a second reserve ([Room]) for
// sessions with little output: the gateway holds other sessions back, and ends them when half of it
// is left. New sessions are refused at a quarter, all output at an eighth.
//
// Other programs can still fill the disk. nats-server 2.15 then keeps its data and answers reads; a
// stream whose file it could not write accepts nothing more, does not answer its publishers, and
// stays in this state when there is space again (measured). So the server's health is checked when
// it logs an error. A server with a broken stream is restarted within this process as soon as the
// reserve is free; until then everything is refused at once. Its leases, which are in memory, end
// with it, and work restarts from its positions. On a cluster, this is left to its operators:
// ttydrain waits.
//
// Not guaranteed: that no other chunk is stored between a refused chunk and a later one when the
// free space fluctuates. In that case the gap, whose bytes were never shown, becomes a record.
//
// # Order and retries
//
// Messages of one subject are in the order in which the stream stored them. A publish that was
// refused or timed out is retried by its caller, and may then be stored after later ones: chunks
// carry their offsets so that readers can reorder them. A retry within two minutes of a stored
// message is recognised by its ID and not stored again.
//
// Every reader has a position of its own in the positions bucket, and reads from there with an
// ordered consumer. Nothing is ever acknowledged to JetStream, so a reader that dies, or that
// processes a message again, cannot change the order for itself or for others. Only the holder of a
// [Lease] may read for a piece of work and move its position. The processes on a cluster distribute
// the leases evenly among themselves.
//
// # Operation IDs
//
// An operation's ID is the sequence number of its record in the operations bucket, under a random
// key: it is unique over all gateways and increasing, without a separate counter. The buckets of
// operations and sessions delete entries eight days after the retention of the streams; the server
// continues the sequence even in an empty bucket.
//
// # Roles
//
// On a cluster, a process only uses the streams and buckets of its [Role], as a NATS user with no
// more permissions than the role needs: the folder nats has the server's configuration, and [Apply]
// creates the streams for roles that may not. A call that needs a refused permission fails with a
// [RefusedError]. The server reports a refusal without the request that caused it, so it is matched
// by its subject: several concurrent calls that need the same stream may all fail with the refusal
// of one.
//
// # Durability
//
// With the embedded server, a message that its publisher or a reader knows of is synced to the
// disk, unless the configuration trades that for speed; a cluster keeps replicas. One sync covers
// everything written before it, of any number of sessions: with NATS's own sync for each message,
// about 700 lines per second that arrive one by one could be stored, with this one 10,000
// (measured). It relies on the server writing a message to its file before acknowledging it, and on
// the location of these files; tests check both.
//
// Not guaranteed after a power failure: that removed data stays removed; and, on file systems that
// replace a file by a new one before the new content is on the disk (XFS does, ext4 and Btrfs do
// not), a bucket that the server is just compacting, which takes milliseconds. Without the
// positions in it, everything in the streams is delivered again.
//
// # Files
//
// streams and buckets: layout.go (table), apply.go, bus.go; embedded server: server.go, disk.go,
// synced.go; clusters: connect.go, starting.go, refused.go, consumers.go; messages: publish.go,
// read.go, caughtup.go, room.go; work: lease.go, balance.go, progress.go; the other files hold the
// operations of one bucket each.
package bus
