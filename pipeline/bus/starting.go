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

// retryEvery is how often a server that is not there, or starts, is tried again.
const retryEvery = 200 * time.Millisecond

// dialServers connects to NATS, and waits for servers that are not there yet: they may be starting
// as well.
func dialServers(ctx context.Context, url string, options []nats.Option, log *slog.Logger) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	for told := false; ; {
		conn, err := nats.Connect(url, options...)
		if err == nil {
			return conn, nil
		}
		if !unreachable(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("connect to NATS: %w", connectError(err))
		}
		if !told {
			log.Warn("NATS does not answer and is tried again", "error", err, "within", makeTimeout)
			told = true
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS: %w", connectError(err))
		}
	}
}

// unreachable says that nobody answered, or stopped in the middle: not that somebody refused.
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

// starting is whether an error is that of a server that is connected to and not able to work yet,
// or not any more.
func starting(err error) bool {
	// noPeers: of a cluster, in which a server that is there may count as offline for a moment.
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

// notice notes that the connection was lost, and is there again.
func (b *Bus) notice() {
	select {
	case b.reconnected <- struct{}{}:
	default: // it is noted already
	}
}

// keepBuckets makes the buckets that are missing again, each time that the connection was lost: the
// server that had those in memory may have ended with them. It ends with ctx.
//
// Whoever had a lease there then finds another's in its place, or none, and gives it up. Until then
// two processes can be at the same work, as long as it takes the one to notice: see [Lease].
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
			b.log.Error("the buckets on NATS could not be made sure of", "error", err)
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
