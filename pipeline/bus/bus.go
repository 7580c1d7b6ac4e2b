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
	// maxPayload is the default of NATS; all messages of ttydrain are much smaller.
	maxPayload = 1 << 20
	// requestTimeout limits every request to JetStream, including publishes.
	requestTimeout = 5 * time.Second
	// makeTimeout limits the creation of each stream and bucket, including retries.
	makeTimeout = 30 * time.Second
	// reconnectWait is the interval of reconnecting to an embedded server, which is then being
	// restarted.
	reconnectWait = 50 * time.Millisecond
	// duplicates is the time for which a stream detects duplicates, unless it keeps data for a
	// shorter time.
	duplicates = 2 * time.Minute
	// maxSessionAge is the time, in addition to the retention of its output, for which a session
	// and its operation are kept after the last write. It covers the duration of the session, at
	// most a week.
	maxSessionAge = 8 * 24 * time.Hour
	// partitionsKey is the metadata key of a stream for the number of partitions.
	partitionsKey = "ttydrain.partitions"
)

// Retention is the default retention of the streams: a session of seven days is complete in them
// when it ends, with a week for drains to catch up.
const Retention = 14 * 24 * time.Hour

// Options configure a Bus.
type Options struct {
	// Store is the folder of the embedded server, which is used if URL is "".
	Store string
	// Sync is the interval at which the embedded server syncs its files to the disk; 0 means on
	// every write.
	Sync time.Duration

	// URL is the URL of a NATS cluster; several servers are separated by commas.
	URL string
	// Replicas is the number of replicas of each stream and bucket in a cluster; 0 means 1.
	Replicas int
	// Credentials for the cluster, of one kind: a file with a JWT and an NKey seed, which is read
	// again for every connection; a file with an NKey seed; a token; a user and a password.
	CredentialsFile, NKeySeedFile, Token, Username, Password string
	// TLS returns the configuration for a connection to the cluster. It is called for every
	// connection; nil leaves it to the URL.
	TLS func() (*tls.Config, error)
	// InboxPrefix is the prefix of the subjects for responses to this process; "" for the role's
	// own. A NATS user who may subscribe to it can read what this process reads.
	InboxPrefix string

	// Role determines the parts of ttydrain that the bus serves, and so its streams and buckets; 0
	// means all. Those that the role does not have must not be used.
	Role Role

	// MaxBytes is the maximum size of each of the streams TTY and LOGS; DEADLETTER and AUDIT may
	// have a tenth of it each. 0 leaves existing streams unchanged, and sets no limit for new ones.
	MaxBytes int64

	// Partitions is the number of partitions for new streams; 0 means 1. Existing streams keep
	// theirs.
	Partitions int
	// Retention is the retention of the streams, including existing ones; 0 means [Retention].
	Retention time.Duration

	// Log receives messages of the embedded server and the connection; nil discards them.
	Log *slog.Logger
}

func (o *Options) retention() time.Duration {
	if o.Retention == 0 {
		return Retention
	}
	return o.Retention
}

// Bus is a connection to JetStream with ttydrain's streams and buckets. It is safe for concurrent
// use.
type Bus struct {
	embedded *embedded // nil if NATS is not embedded
	disk     *disk     // of the embedded server; nil without one
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
	owner      string // ID of this process, the owner of its leases
	roster     *roster

	reconnected    chan struct{}      // of cap 1: the connection was lost and is restored
	stopBackground context.CancelFunc // ends the goroutines of background; nil without any
	background     sync.WaitGroup
}

// Open starts the embedded server or connects to a cluster, and creates the missing streams and
// buckets of the role. On a cluster whose streams [Apply] has created, it needs no permission to
// create any.
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
	if o.URL != "" { // an embedded server is not shared with others
		background, cancel := context.WithCancel(context.WithoutCancel(ctx))
		b.stopBackground = cancel
		b.background.Go(func() { b.keepBuckets(background, o.Role, replicas) }) // ends with Close
		b.roster.start(background)
	}
	if b.embedded != nil {
		b.watching.Go(func() { // ends with Close
			b.embedded.watch(b.over, func() error { return b.ensureBuckets(context.WithoutCancel(ctx), o.Role, replicas) })
		})
	}
	return nil
}

// limit returns the size limit of a stream in bytes; 0 keeps its current one.
func (o *Options) limit(stream string) int64 {
	if stream == schema.StreamDeadLetter || stream == schema.StreamAudit {
		return o.MaxBytes / 10
	}
	return o.MaxBytes
}

// ensureBuckets creates the missing buckets of a role: after a restart of the embedded server,
// those in memory.
func (b *Bus) ensureBuckets(ctx context.Context, role Role, replicas int) error {
	for _, k := range buckets {
		if !k.roles.has(role) {
			continue
		}
		k.config.Replicas, k.config.TTL = replicas, b.ttl(k.config)
		bucket, err := b.ensureBucket(ctx, k.config)
		if err != nil {
			return fmt.Errorf("create the bucket %s: %w", k.config.Bucket, err)
		}
		if k.config.TTL > 0 {
			if err := b.adjust(ctx, "KV_"+k.config.Bucket, func(c *jetstream.StreamConfig) { c.MaxAge = k.config.TTL }); err != nil {
				return err
			}
		}
		if into := k.into(b); *into == nil { // a handle finds its bucket by name, even after the bucket was recreated
			*into = bucket
		}
	}
	return nil
}

// ttl returns the time for which a bucket keeps an entry after its last write.
func (b *Bus) ttl(config jetstream.KeyValueConfig) time.Duration {
	if config.TTL == likeSessions {
		return b.retention + maxSessionAge
	}
	return config.TTL
}

// adjust applies a change to the settings of an existing stream. If this process has no permission
// to change them, it keeps the current ones.
func (b *Bus) adjust(ctx context.Context, name string, change func(*jetstream.StreamConfig)) error {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	config, err := b.configOf(ctx, name)
	for err == nil && config == nil { // one server of a cluster may know it before another
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
		b.log.Warn("stream settings differ from the configuration, and this process may not change them", "stream", name, "advice", "run \"ttydrain streams apply\" with an administrator's credentials")
		return nil
	}
	return err
}

// ensureBucket creates a bucket if it is missing, and leaves an existing one unchanged.
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

// ensure finds an object that is stored in a stream, or creates it if find fails with missing. If
// several processes create the same object at once on a cluster, one gets an error that it exists,
// or no answer at all: it then tries again, as it does while servers are starting.
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
				return made, fmt.Errorf("it does not exist, and this process may not create it: run \"ttydrain streams apply\" with an administrator's credentials: %w", err)
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

// lockStore prevents a second process from using the store, which would corrupt it.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the store %s is in use by another ttydrain: stop that one, or configure another store for this one", dir)
		}
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	return f, nil
}

// ensureStream creates a stream if it is missing. It adopts the number of partitions of an existing
// one, and applies the configured size limit and retention to it; a limit of 0 keeps the current
// one.
func (b *Bus) ensureStream(ctx context.Context, wanted jetstream.StreamConfig) error {
	name := wanted.Name
	made, err := ensure(ctx, b.refusals, name, jetstream.ErrStreamNotFound,
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) },
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.CreateStream(ctx, wanted) })
	if err != nil {
		return fmt.Errorf("create the stream %s: %w", name, err)
	}
	n, err := strconv.Atoi(made.CachedInfo().Config.Metadata[partitionsKey])
	if err != nil || n < 1 {
		return fmt.Errorf("the stream %s was not created by ttydrain: its metadata has no %s", name, partitionsKey)
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
			return fmt.Errorf("read the configuration of the stream %s: %w", name, err)
		}
	}
	b.retention = made.CachedInfo().Config.MaxAge
	b.partitions = n
	b.streams[name] = stream{made, name, b.refusals, b.embedded.syncedOf(name)}
	return nil
}

// streamConfig returns the configuration for a new stream. maxBytes is its size limit; 0 for none.
func streamConfig(name, subjects string, replicas, partitions int, maxBytes int64, retention time.Duration) jetstream.StreamConfig {
	discard := jetstream.DiscardNew
	if name == schema.StreamAudit {
		discard = jetstream.DiscardOld // a full stream must not keep operators from acting
	}
	return jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: replicas,
		Discard: discard, MaxAge: retention, Duplicates: min(duplicates, retention), MaxBytes: maxBytes, AllowDirect: true,
		Metadata: map[string]string{partitionsKey: strconv.Itoa(partitions)},
	}
}

// Retention returns the retention of the streams.
func (b *Bus) Retention() time.Duration { return b.retention }

// Has reports whether this process has a stream: see [Role].
func (b *Bus) Has(stream string) bool { return b.streams[stream] != nil }

// Partitions returns the number of partitions of the streams.
func (b *Bus) Partitions() int { return b.partitions }

// Ready returns an error unless JetStream answers and accepts the output of sessions.
func (b *Bus) Ready(ctx context.Context) error {
	if err := b.disk.admit(forSessions, 0); err != nil {
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

// Close closes the connection and the embedded server. No acknowledged message is lost.
func (b *Bus) Close() {
	if b.stopBackground != nil {
		b.stopBackground()
		b.background.Wait()
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
