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
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	// retention is how long the streams keep what was written: a session of seven days is whole
	// in them when it ends, with a week for drains to catch up.
	retention = 14 * 24 * time.Hour
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

	// Partitions is the number of partitions of streams that do not exist yet; 0 means 1. Streams that
	// exist keep theirs.
	Partitions int

	// Log gets what the embedded server and the connection have to say; nil for nobody.
	Log *slog.Logger
}

// A Bus is a connection to JetStream with ttydrain's streams and buckets. It is safe for concurrent use.
type Bus struct {
	server *server.Server // nil where the NATS is not embedded
	lock   *os.File       // held while this process uses the store
	conn   *nats.Conn
	js     jetstream.JetStream

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
	b := new(Bus)
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
		if b.server, err = startServer(o.Store, o.Sync, o.Log); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(b.server))
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
		if err := b.ensureStream(ctx, s.name, s.subjects, replicas); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		into   *jetstream.KeyValue
		config jetstream.KeyValueConfig
	}{
		{&b.operations, jetstream.KeyValueConfig{Bucket: schema.BucketOperations, Description: "who opened which session; never changed"}},
		{&b.sessions, jetstream.KeyValueConfig{Bucket: schema.BucketSessions, Description: "how each session stands"}},
		{&b.positions, jetstream.KeyValueConfig{Bucket: schema.BucketPositions, Description: "how far each reader of a stream has come"}},
		// In memory: the leases of an embedded server end with it, so that its next start need not wait for them.
		{&b.leases, jetstream.KeyValueConfig{Bucket: schema.BucketLeases, Description: "which process does which work",
			TTL: leaseTTL, Storage: jetstream.MemoryStorage}},
		{&b.controls, jetstream.KeyValueConfig{Bucket: schema.BucketControls, Description: "what is wanted of each drain"}},
		{&b.states, jetstream.KeyValueConfig{Bucket: schema.BucketStates, Description: "how each drain stands",
			TTL: stateTTL, Storage: jetstream.MemoryStorage}},
	} {
		k.config.Replicas = replicas
		if *k.into, err = b.ensureBucket(ctx, k.config); err != nil {
			return fmt.Errorf("make the bucket %s: %w", k.config.Bucket, err)
		}
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
func (b *Bus) ensureStream(ctx context.Context, name, subjects string, replicas int) error {
	stream, err := ensure(ctx, jetstream.ErrStreamNotFound,
		func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) },
		func(ctx context.Context) (jetstream.Stream, error) {
			return b.js.CreateStream(ctx, jetstream.StreamConfig{
				Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Replicas: replicas,
				Discard: jetstream.DiscardNew, MaxAge: retention, AllowDirect: true,
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
	b.partitions = n
	b.streams[name] = stream
	return nil
}

// Partitions is the number of partitions of the streams.
func (b *Bus) Partitions() int { return b.partitions }

// Ready says whether JetStream answers.
func (b *Bus) Ready(ctx context.Context) error {
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("NATS JetStream does not answer: %w", err)
	}
	return nil
}

// Close ends the connection and the embedded server. Nothing that was acknowledged is lost.
func (b *Bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	if b.lock != nil {
		b.lock.Close()
	}
}
