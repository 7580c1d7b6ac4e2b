package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxPayload is NATS's own default; no message of ttydrain comes near it.
	maxPayload = 1 << 20
	// requestTimeout bounds every request to JetStream, publishes too.
	requestTimeout = 5 * time.Second
	// makeTimeout bounds the making of each stream and bucket, with several attempts.
	makeTimeout = 30 * time.Second
	// reconnectWait is how often the connection to an embedded server is tried again, which is being
	// started again then.
	reconnectWait = 50 * time.Millisecond
	// duplicates is how long a stream recognises a repeat, unless it keeps data for a shorter time.
	duplicates = 2 * time.Minute
	// sessionMost is how long a session and its operation are known after they were written last,
	// beside the retention of what it showed: while it lasts, which is a week at most.
	sessionMost = 8 * 24 * time.Hour
	// partitionsKey is where a stream's metadata keep the number of partitions.
	partitionsKey = "ttydrain.partitions"
)

// Retention is how long the streams keep what was written, where nothing else is said: a session of
// seven days is whole in them when it ends, with a week for drains to catch up.
const Retention = 14 * 24 * time.Hour

// Options say which NATS to use.
type Options struct {
	// Store is the folder of the embedded server, which is used where URL is "".
	Store string
	// Sync is how often the embedded server syncs its files to the disk; 0 means every write.
	Sync time.Duration

	// URL is that of a NATS cluster, with several servers separated by commas.
	URL string
	// Replicas of each stream and bucket in a cluster; 0 means 1.
	Replicas int
	// Credentials for the cluster, of one kind: a file with a JWT and an NKey seed, which is read
	// again for every connection; a file with an NKey seed; a token; a user and a password.
	CredentialsFile, NKeySeedFile, Token, Username, Password string
	// TLS makes the configuration of a connection to the cluster. It is called for every connection;
	// nil for what the URL says.
	TLS func() (*tls.Config, error)
	// InboxPrefix is where the answers to this process come; "" for one that is the role's own. Who
	// may subscribe to it reads what this process reads.
	InboxPrefix string

	// Role says for which parts of ttydrain the bus is, and so which streams and buckets it has; 0 for
	// all of them. What the role does not have must not be used.
	Role Role

	// MaxBytes is how large the streams TTY and LOGS may become, each; DEADLETTER may have a tenth of
	// it. 0 leaves streams that exist as they are, and bounds no new one.
	MaxBytes int64

	// Partitions is the number of partitions of streams that do not exist yet; 0 means 1. Streams that
	// exist keep theirs.
	Partitions int
	// Retention is how long the streams keep what was written, those that exist too; 0 means
	// [Retention].
	Retention time.Duration

	// Log gets what the embedded server and the connection have to say; nil for nobody.
	Log *slog.Logger
}

func (o *Options) retention() time.Duration {
	if o.Retention == 0 {
		return Retention
	}
	return o.Retention
}

// A Bus is a connection to JetStream with ttydrain's streams and buckets. It is safe for concurrent
// use.
type Bus struct {
	embedded *embedded // nil where the NATS is not embedded
	disk     *disk     // of it; nil without
	closing  sync.Once
	over     chan struct{} // closed by Close
	watching sync.WaitGroup
	lock     *os.File // held while this process uses the store
	conn     *nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger

	unreadable atomic.Int64 // sessions that could not be read when they were last listed
	usages     usages

	gateway    bool // this process has a gateway
	refusals   *refusals
	partitions int
	retention  time.Duration
	streams    map[string]jetstream.Stream // by name; filled by open, then only read
	operations jetstream.KeyValue
	sessions   jetstream.KeyValue
	slots      jetstream.KeyValue
	kills      jetstream.KeyValue
	positions  jetstream.KeyValue
	leases     jetstream.KeyValue
	controls   jetstream.KeyValue
	states     jetstream.KeyValue
	gaps       jetstream.KeyValue
	owner      string // of this process's leases
	roster     *roster

	reconnected chan struct{}      // of cap 1: the connection was lost, and is there again
	stopKeeping context.CancelFunc // of what keeping waits for; nil without
	keeping     sync.WaitGroup
}

// Open starts the embedded server or connects to a cluster, and makes the streams and buckets of
// the role that are missing. On a cluster whose streams [Apply] has made, it needs no right to make
// any.
func Open(ctx context.Context, o Options) (*Bus, error) {
	b := &Bus{over: make(chan struct{}), reconnected: make(chan struct{}, 1)}
	if err := b.open(ctx, o); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) open(ctx context.Context, o Options) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b.log = o.Log
	if err := b.connect(ctx, &o); err != nil {
		return err
	}
	replicas := max(o.Replicas, 1)
	b.partitions = max(o.Partitions, 1)
	b.streams = make(map[string]jetstream.Stream)
	b.owner = nuid.Next()
	b.gateway = RoleGateway.has(o.Role)
	b.roster = newRoster(b, o.URL == "", o.Log)
	for _, s := range streams {
		if !s.roles.has(o.Role) {
			continue
		}
		if err := b.ensureStream(ctx, streamConfig(s.name, s.subjects, replicas, b.partitions, o.limit(s.name), o.retention())); err != nil {
			return err
		}
	}
	if err := b.ensureBuckets(ctx, o.Role, replicas); err != nil {
		return err
	}
	if b.embedded != nil {
		if err := b.embedded.settle(); err != nil {
			return err
		}
	}
	if o.URL != "" { // an embedded server shares nothing with others
		keeping, cancel := context.WithCancel(context.WithoutCancel(ctx))
		b.stopKeeping = cancel
		b.keeping.Go(func() { b.keepBuckets(keeping, o.Role, replicas) }) // ends with Close
		b.roster.start(keeping)
	}
	if b.embedded != nil {
		b.watching.Go(func() { // ends with Close
			b.embedded.watch(b.over, func() error { return b.ensureBuckets(context.WithoutCancel(ctx), o.Role, replicas) })
		})
	}
	return nil
}

// limit is the bound of a stream in bytes; 0 leaves the one that it has.
func (o *Options) limit(stream string) int64 {
	if stream == schema.StreamDeadLetter {
		return o.MaxBytes / 10
	}
	return o.MaxBytes
}

// ensureBuckets makes the buckets of a role that are missing: after a new start of the embedded
// server, those in memory.
func (b *Bus) ensureBuckets(ctx context.Context, role Role, replicas int) error {
	for _, k := range buckets {
		if !k.roles.has(role) {
			continue
		}
		k.config.Replicas, k.config.TTL = replicas, b.ttl(k.config)
		bucket, err := b.ensureBucket(ctx, k.config)
		if err != nil {
			return fmt.Errorf("make the bucket %s: %w", k.config.Bucket, err)
		}
		if k.config.TTL > 0 {
			if err := b.adjust(ctx, "KV_"+k.config.Bucket, func(c *jetstream.StreamConfig) { c.MaxAge = k.config.TTL }); err != nil {
				return err
			}
		}
		if into := k.into(b); *into == nil { // what finds a bucket by its name finds one that was made again, too
			*into = bucket
		}
	}
	return nil
}

// ttl is how long a bucket keeps what was written last.
func (b *Bus) ttl(config jetstream.KeyValueConfig) time.Duration {
	if config.TTL == likeSessions {
		return b.retention + sessionMost
	}
	return config.TTL
}

// adjust makes the settings of a stream that is there the wanted ones. Where this process may not
// change them, it goes on with those that there are.
func (b *Bus) adjust(ctx context.Context, name string, change func(*jetstream.StreamConfig)) error {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	config, err := b.configOf(ctx, name)
	for err == nil && config == nil { // a cluster may know it here and not there yet
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		config, err = b.configOf(ctx, name)
	}
	if err != nil {
		return err
	}
	_, err = b.update(ctx, name, config, change)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		b.log.Warn("a stream has other settings than the configuration, and this process may not change them: \"ttydrain streams apply\" does, with the credentials of who may", "stream", name)
		return nil
	}
	return err
}

// ensureBucket makes a bucket that is missing, and leaves one that is there as it is.
func (b *Bus) ensureBucket(ctx context.Context, config jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := ensure(ctx, b.refusals, "KV_"+config.Bucket, jetstream.ErrBucketNotFound,
		func(ctx context.Context) (jetstream.KeyValue, error) { return b.js.KeyValue(ctx, config.Bucket) },
		func(ctx context.Context) (jetstream.KeyValue, error) { return b.createBucket(ctx, config) })
	if err != nil {
		return nil, err
	}
	k := bucket{KeyValue: kv, refusals: b.refusals}
	if config.Storage == jetstream.FileStorage {
		k.synced = b.embedded.syncedOf(k.stream())
	}
	return k, nil
}

// ensure finds something that is kept in a stream, or makes it where the error of find is missing.
// Where several processes make the same at once on a cluster, one is told that it is there already,
// or is told nothing at all: it looks again, as it does while servers start.
func ensure[T any](ctx context.Context, r *refusals, of string, missing error, find, create func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		made, err := guarded(attempt, r, of, find)
		if errors.Is(err, missing) {
			made, err = guarded(attempt, r, of, create)
			if refused := (*RefusedError)(nil); errors.As(err, &refused) {
				cancel()
				return made, fmt.Errorf("it is not there, and this process may not make it: \"ttydrain streams apply\" does, with the credentials of who may: %w", err)
			}
		}
		again := errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || attempt.Err() != nil || starting(err)
		cancel()
		if err == nil || !again || ctx.Err() != nil || errors.As(err, new(*RefusedError)) {
			return made, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// lockStore keeps a second process off the store, which would damage it.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the store %s is in use by another ttydrain: stop that one, or give this one a store of its own", dir)
		}
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	return f, nil
}

// ensureStream makes a stream that is missing, and takes the number of partitions from one that is
// there, to which it gives the wanted bound and retention; a bound of 0 leaves it as it is.
func (b *Bus) ensureStream(ctx context.Context, wanted jetstream.StreamConfig) error {
	name := wanted.Name
	made, err := ensure(ctx, b.refusals, name, jetstream.ErrStreamNotFound,
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) },
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.CreateStream(ctx, wanted) })
	if err != nil {
		return fmt.Errorf("make the stream %s: %w", name, err)
	}
	n, err := strconv.Atoi(made.CachedInfo().Config.Metadata[partitionsKey])
	if err != nil || n < 1 {
		return fmt.Errorf("the stream %s is not ttydrain's: its metadata have no %s", name, partitionsKey)
	}
	if is := made.CachedInfo().Config; wanted.MaxBytes > 0 && is.MaxBytes != wanted.MaxBytes || is.MaxAge != wanted.MaxAge {
		if err := b.adjust(ctx, name, func(c *jetstream.StreamConfig) {
			c.MaxAge, c.Duplicates = wanted.MaxAge, wanted.Duplicates
			if wanted.MaxBytes > 0 {
				c.MaxBytes = wanted.MaxBytes
			}
		}); err != nil {
			return err
		}
		if made, err = guarded(ctx, b.refusals, name, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) }); err != nil {
			return fmt.Errorf("look at the stream %s: %w", name, err)
		}
	}
	b.retention = made.CachedInfo().Config.MaxAge
	b.partitions = n
	b.streams[name] = stream{made, name, b.refusals, b.embedded.syncedOf(name)}
	return nil
}

// streamConfig is how a stream is made. maxBytes is its bound; 0 for none.
func streamConfig(name, subjects string, replicas, partitions int, maxBytes int64, retention time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: replicas,
		Discard: jetstream.DiscardNew, MaxAge: retention, Duplicates: min(duplicates, retention), MaxBytes: maxBytes, AllowDirect: true,
		Metadata: map[string]string{partitionsKey: strconv.Itoa(partitions)},
	}
}

// Retention is how long the streams keep what was written.
func (b *Bus) Retention() time.Duration { return b.retention }

// Has says whether this process has a stream: see [Role].
func (b *Bus) Has(stream string) bool { return b.streams[stream] != nil }

// Partitions is the number of partitions of the streams.
func (b *Bus) Partitions() int { return b.partitions }

// Ready says whether JetStream answers, and takes what sessions show.
func (b *Bus) Ready(ctx context.Context) error {
	if err := b.disk.room(forSessions, 0); err != nil {
		return fmt.Errorf("sessions can't be recorded: %w", err)
	}
	if b.gateway && b.conn.IsConnected() {
		if err := b.roomForSession(ctx); errors.Is(err, ErrFull) { // other errors are found below
			return fmt.Errorf("sessions can't be started: %w", err)
		}
	}
	if err := b.conn.LastError(); err != nil && !b.conn.IsConnected() {
		return fmt.Errorf("there is no connection to NATS: %w", connectError(err))
	}
	if _, err := guarded(ctx, b.refusals, "$JS.API.INFO", b.js.AccountInfo); err != nil {
		return fmt.Errorf("NATS JetStream does not answer: %w", err)
	}
	return nil
}

// Close ends the connection and the embedded server. Nothing that was acknowledged is lost.
func (b *Bus) Close() {
	if b.stopKeeping != nil {
		b.stopKeeping()
		b.keeping.Wait()
	}
	b.closing.Do(func() { close(b.over) })
	b.watching.Wait()
	if b.conn != nil {
		b.conn.Close()
	}
	if b.embedded != nil {
		b.embedded.close()
	}
	if b.lock != nil {
		b.lock.Close()
	}
}
