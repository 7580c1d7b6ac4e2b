package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// retryEvery is the interval of retrying a server that does not answer yet.
const retryEvery = 200 * time.Millisecond

// dialServers connects to NATS, and waits for servers that may be starting as well.
func dialServers(ctx context.Context, url string, options []nats.Option, log *slog.Logger) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	for warned := false; ; {
		conn, err := nats.Connect(url, options...)
		if err == nil {
			return conn, nil
		}
		if !unreachable(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("connect to NATS: %w", connectError(err))
		}
		if !warned {
			log.Warn("NATS does not answer, retrying", "error", err, "timeout", makeTimeout)
			warned = true
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS: %w", connectError(err))
		}
	}
}

// unreachable reports whether a connection failed without an answer, or was interrupted, instead of
// being refused.
func unreachable(err error) bool {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return true
	}
	for _, e := range []error{nats.ErrNoServers, nats.ErrTimeout, nats.ErrConnectionClosed, io.EOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// starting reports whether an error comes from a connected server that is not ready yet, or no
// longer.
func starting(err error) bool {
	// on a cluster, a running server may count as offline for a moment
	const noPeers = 10005
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.Code == http.StatusServiceUnavailable || api.ErrorCode == noPeers) {
		return true
	}
	for _, e := range []error{jetstream.ErrJetStreamNotEnabled, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrTimeout} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// signalReconnect records that the connection was lost and is restored.
func (b *Bus) signalReconnect() {
	select {
	case b.reconnected <- struct{}{}:
	default: // already recorded
	}
}

// keepBuckets recreates missing buckets each time the connection was lost: the server that had
// those in memory may have ended with them. It ends with ctx.
//
// The holder of a lost lease then finds it held by another process, or missing, and gives it up.
// Until it notices, two processes can do the same work: see [Lease].
func (b *Bus) keepBuckets(ctx context.Context, role Role, replicas int) {
	for {
		select {
		case <-b.reconnected:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			err := b.ensureBuckets(ctx, role, replicas)
			if err == nil || ctx.Err() != nil {
				break
			}
			b.log.Error("buckets on NATS not ensured, retrying", "error", err)
			if errors.As(err, new(*RefusedError)) {
				break
			}
			select {
			case <-time.After(retryEvery):
			case <-ctx.Done():
			}
		}
	}
}
