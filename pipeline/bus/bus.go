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
	// reconnectWait is how often the connection to an embedded server is tried again, which is being started again then.
	reconnectWait = 50 * time.Millisecond
	// retention is how long the streams keep what was written: a session of seven days is whole
	// in them when it ends, with a week for drains to catch up.
	retention = 14 * 24 * time.Hour
	// sessionRetention is how long a session and its operation are known after they were written last: while it
	// lasts, which is a week at most, and then as long as what it showed.
	sessionRetention = retention + 8*24*time.Hour
	// partitionsKey is where a stream's metadata keep the number of partitions.
	partitionsKey = "ttydrain.partitions"
)

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
	// Credentials for the cluster: a file with a JWT and an NKey seed; or a token; or a user and a password.
	CredentialsFile, Token, Username, Password string
	// TLS is for the connections to the cluster; nil for what the URL says.
	TLS *tls.Config

	// MaxBytes is how large the streams TTY and LOGS may become, each; DEADLETTER may have a tenth of it. 0 leaves
	// streams that exist as they are, and bounds no new one.
	MaxBytes int64

	// Partitions is the number of partitions of streams that do not exist yet; 0 means 1. Streams that
	// exist keep theirs.
	Partitions int

	// Log gets what the embedded server and the connection have to say; nil for nobody.
	Log *slog.Logger
}

// A Bus is a connection to JetStream with ttydrain's streams and buckets. It is safe for concurrent use.
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

	partitions int
	streams    map[string]jetstream.Stream // by name; filled by open, then only read
	operations jetstream.KeyValue
	sessions   jetstream.KeyValue
	positions  jetstream.KeyValue
	leases     jetstream.KeyValue
	controls   jetstream.KeyValue
	states     jetstream.KeyValue
	owner      string // of this process's leases
}

// Open starts the embedded server or connects to a cluster, and makes the streams and buckets that are missing.
func Open(ctx context.Context, o Options) (*Bus, error) {
	b := &Bus{over: make(chan struct{})}
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
	options := append(o.connection(), nats.Name("ttydrain"), nats.MaxReconnects(-1),
		// A server that is gone without a word is noticed while the sessions still wait for it.
		nats.PingInterval(requestTimeout), nats.FlusherTimeout(requestTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: it was closed here
				o.Log.Warn("the connection to NATS is lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { o.Log.Info("connected to NATS again", "server", c.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { o.Log.Warn("NATS", "error", err) }))
	if o.URL == "" {
		if b.lock, err = lockStore(o.Store); err != nil {
			return err
		}
		b.embedded = newEmbedded(o.Store, o.Sync, o.Log)
		b.disk = b.embedded.disk
		if err = b.embedded.start(); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(b.embedded), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0))
	}
	if b.conn, err = nats.Connect(o.URL, options...); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncTimeout(requestTimeout),
		jetstream.WithPublishAsyncMaxPending(1<<16), jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		return fmt.Errorf("set up JetStream: %w", err)
	}
	replicas := max(o.Replicas, 1)
	b.partitions = max(o.Partitions, 1)
	b.streams = make(map[string]jetstream.Stream)
	b.owner = nuid.Next()
	for _, s := range []struct{ name, subjects string }{{schema.StreamTTY, "tty.>"}, {schema.StreamLogs, "logs.>"}, {schema.StreamDeadLetter, "deadletter.>"}} {
		limit := o.MaxBytes
		if s.name == schema.StreamDeadLetter {
			limit /= 10
		}
		if err := b.ensureStream(ctx, s.name, s.subjects, replicas, limit); err != nil {
			return err
		}
	}
	if err := b.ensureBuckets(ctx, replicas); err != nil {
		return err
	}
	if b.embedded != nil {
		b.watching.Go(func() { // ends with Close
			b.embedded.watch(b.over, func() error { return b.ensureBuckets(context.WithoutCancel(ctx), replicas) })
		})
	}
	return nil
}

// ensureBuckets makes the buckets that are missing: after a new start of the embedded server, those in memory.
func (b *Bus) ensureBuckets(ctx context.Context, replicas int) (err error) {
	for _, k := range []struct {
		into   *jetstream.KeyValue
		config jetstream.KeyValueConfig
	}{
		{&b.operations, jetstream.KeyValueConfig{Bucket: schema.BucketOperations, Description: "who opened which session; never changed", TTL: sessionRetention}},
		{&b.sessions, jetstream.KeyValueConfig{Bucket: schema.BucketSessions, Description: "how each session stands", TTL: sessionRetention}},
		{&b.positions, jetstream.KeyValueConfig{Bucket: schema.BucketPositions, Description: "how far each reader of a stream has come"}},
		// In memory: the leases of an embedded server end with it, so that its next start need not wait for them.
		{&b.leases, jetstream.KeyValueConfig{Bucket: schema.BucketLeases, Description: "which process does which work",
			TTL: leaseTTL, Storage: jetstream.MemoryStorage}},
		{&b.controls, jetstream.KeyValueConfig{Bucket: schema.BucketControls, Description: "what is wanted of each drain"}},
		{&b.states, jetstream.KeyValueConfig{Bucket: schema.BucketStates, Description: "how each drain stands",
			TTL: stateTTL, Storage: jetstream.MemoryStorage}},
	} {
		k.config.Replicas = replicas
		bucket, err := b.ensureBucket(ctx, k.config)
		if err != nil {
			return fmt.Errorf("make the bucket %s: %w", k.config.Bucket, err)
		}
		if k.config.TTL > 0 {
			if err := b.ensureAge(ctx, k.config.Bucket, k.config.TTL); err != nil {
				return err
			}
		}
		if *k.into == nil { // what finds a bucket by its name finds one that was made again, too
			*k.into = bucket
		}
	}
	return nil
}

// ensureAge makes a bucket that is there keep its keys for as long as one that is made now.
func (b *Bus) ensureAge(ctx context.Context, bucket string, age time.Duration) error {
	stream, err := b.js.Stream(ctx, "KV_"+bucket)
	if err == nil {
		if config := stream.CachedInfo().Config; config.MaxAge != age {
			config.MaxAge = age
			_, err = b.js.UpdateStream(ctx, config)
		}
	}
	if err != nil {
		return fmt.Errorf("make the bucket %s keep its keys for %s: %w", bucket, age, err)
	}
	return nil
}

// ensureBucket makes a bucket that is missing, and leaves one that is there as it is.
func (b *Bus) ensureBucket(ctx context.Context, config jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	return ensure(ctx, jetstream.ErrBucketNotFound,
		func(ctx context.Context) (jetstream.KeyValue, error) { return b.js.KeyValue(ctx, config.Bucket) },
		func(ctx context.Context) (jetstream.KeyValue, error) { return b.js.CreateKeyValue(ctx, config) })
}

// ensure finds something, or makes it where the error of find is missing. Where several processes make the same at
// once on a cluster, one is told that it is there already, or is told nothing at all: it looks again.
func ensure[T any](ctx context.Context, missing error, find, create func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		made, err := find(attempt)
		if errors.Is(err, missing) {
			made, err = create(attempt)
		}
		again := errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || attempt.Err() != nil
		cancel()
		if err == nil || !again || ctx.Err() != nil {
			return made, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// connection is how to show the cluster who this is.
func (o *Options) connection() (options []nats.Option) {
	switch {
	case o.CredentialsFile != "":
		options = append(options, nats.UserCredentials(o.CredentialsFile))
	case o.Token != "":
		options = append(options, nats.Token(o.Token))
	case o.Username != "":
		options = append(options, nats.UserInfo(o.Username, o.Password))
	}
	if o.TLS != nil {
		options = append(options, nats.Secure(o.TLS))
	}
	return options
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

// ensureStream makes a stream that is missing, and takes the number of partitions from one that is there.
// limit is how many bytes the stream may have; 0 leaves that as it is.
func (b *Bus) ensureStream(ctx context.Context, name, subjects string, replicas int, limit int64) error {
	stream, err := ensure(ctx, jetstream.ErrStreamNotFound,
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) },
		func(ctx context.Context) (jetstream.Stream, error) {
			return b.js.CreateStream(ctx, jetstream.StreamConfig{
				Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: replicas,
				Discard: jetstream.DiscardNew, MaxAge: retention, MaxBytes: limit, AllowDirect: true,
				Metadata: map[string]string{partitionsKey: strconv.Itoa(b.partitions)},
			})
		})
	if err != nil {
		return fmt.Errorf("make the stream %s: %w", name, err)
	}
	n, err := strconv.Atoi(stream.CachedInfo().Config.Metadata[partitionsKey])
	if err != nil || n < 1 {
		return fmt.Errorf("the stream %s is not ttydrain's: its metadata have no %s", name, partitionsKey)
	}
	if config := stream.CachedInfo().Config; limit > 0 && config.MaxBytes != limit {
		config.MaxBytes = limit
		if stream, err = b.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("bound the stream %s to %d bytes: %w", name, limit, err)
		}
	}
	b.partitions = n
	b.streams[name] = stream
	return nil
}

// Partitions is the number of partitions of the streams.
func (b *Bus) Partitions() int { return b.partitions }

// Ready says whether JetStream answers, and takes what sessions show.
func (b *Bus) Ready(ctx context.Context) error {
	if err := b.disk.room(forSessions, 0); err != nil {
		return fmt.Errorf("sessions can't be recorded: %w", err)
	}
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("NATS JetStream does not answer: %w", err)
	}
	return nil
}

// Close ends the connection and the embedded server. Nothing that was acknowledged is lost.
func (b *Bus) Close() {
	b.closing.Do(func() { close(b.over) })
	b.watching.Wait()
	if b.conn != nil {
		b.conn.Close()
	}
	if b.embedded != nil {
		b.embedded.stop()
	}
	if b.lock != nil {
		b.lock.Close()
	}
}
