// Package bus is the only part of ttydrain that knows JetStream: the embedded server, the streams,
// the readers and the key-value buckets.
//
// # Streams
//
// TTY holds the chunks that the capture writes, LOGS the segments that the enricher writes; each
// has one subject per operation (see package schema). DEADLETTER has one subject for each record
// that a drain never takes. All refuse new messages rather than delete old ones when they are full,
// which holds the sessions back; before that, the package pipeline removes delivered messages. What
// is older than the retention is removed; streams that exist take the retention that is configured
// when a process connects. Nothing is published on a subject of LOGS whose last segment was
// removed: the retention is longer than any session, and the last message of an operation that has
// not ended is not removed as delivered.
//
// # Sizes, and a disk that is full
//
// The streams are as large as Options.MaxBytes and the disk allow. Of the disk of an embedded
// server a reserve stays free, a twentieth of it between 4 and 256 MiB: new sessions and their
// output are refused with [ErrFull] when it is reached, segments and dead letters when a half of it
// is left, positions and ends of sessions at a quarter.
//
// Before TTY reaches its bound, or the disk its reserve, there is a second reserve ([Room]), for
// sessions with little output: the gateway holds others back, and ends them when a half of it is
// left. New sessions are refused at a quarter, all output at an eighth.
//
// Something else can fill the disk all the same. nats-server 2.15 then keeps what it has and
// answers reads; a stream whose file it could not write takes nothing more, says nothing to its
// publishers, and stays so when there is room again (measured). So the server is asked for its
// health when it complains. One with a broken stream is started again inside this process as soon
// as the reserve is free, and until then everything is refused at once. The leases, which are in
// its memory, end with it, and work begins again from its positions. On a cluster, all of this is
// its operators' to do: ttydrain waits.
//
// Not guaranteed: that nothing comes between a chunk that was refused and a later one that was
// stored, where the free space comes and goes. Nobody has seen either, and the gap becomes a
// record.
//
// # Order and repeats
//
// Messages of one subject are in the order in which the stream took them. A publish that was
// refused or timed out is repeated by its caller and may then come after later ones: chunks carry
// their offsets so that readers put them in order. A repeat within two minutes of a message that
// was stored is recognised by its ID and not stored twice.
//
// Every reader has a position of its own in the positions bucket, and reads from it with an ordered
// consumer. Nothing is ever acknowledged to JetStream, so a reader that dies, or that works a
// message again, cannot change the order for itself or for others. Who may read for a piece of
// work, and move its position, is who has its [Lease]. Processes on a cluster share the leases out
// among themselves, evenly.
//
// # Operation IDs
//
// An operation's ID is the sequence number that the operations bucket gives its record, under a key
// that is random: it is unique over all gateways and grows, with no counter of its own to keep. The
// bucket forgets operations, and the one of sessions sessions, eight days after the retention of
// the streams; the server goes on counting where it was, with an empty bucket too.
//
// # Roles
//
// On a cluster a process has the streams and buckets of its [Role] alone, as a NATS user that may
// do no more than the role needs: the folder nats has the server's configuration, and [Apply] makes
// the streams for roles that may not. What the server refuses ends the call that needed it with a
// [RefusedError]. A refusal comes without the request that it belongs to, and is matched by its
// subject: of calls at the same time that need the same stream, all may end with the refusal of
// one.
//
// # Durability
//
// With the embedded server, a message that its publisher or a reader knows of is on the disk,
// unless the configuration trades that for speed; a cluster keeps replicas. One sync is for all
// that was written before it, of however many sessions: NATS's own, of each message by itself, let
// some 700 lines through in a second that came one by one, where these let 10,000 (measured). It
// relies on the server's writing a message to its file before it acknowledges it, and on where
// these files are, which tests hold.
//
// Not guaranteed, when the power fails: that what was removed stays removed; and, on file systems
// that let a new file take the place of another before its content is on the disk (XFS does, ext4
// and Btrfs do not), a bucket that the server is just making smaller, which takes milliseconds.
// Without the positions in it, all that the streams keep is delivered again.
package bus
