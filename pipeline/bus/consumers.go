package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// consumersPerPartition is how many consumers of LOGS a drain has for each partition at most:
	// one that reads for it, and one that counts its lag.
	consumersPerPartition = 2
	// serverMaxConsumers is how many consumers NATS servers allow a stream where nothing else is
	// configured. Clients cannot ask for the configured value of default_max_consumers.
	serverMaxConsumers = 1000
)

// Consumers reports how many consumers the drains need on the stream LOGS of a cluster, and how
// many it allows.
type Consumers struct {
	Drains, Partitions int
	// Needed is the most consumers that the drains have at a time.
	Needed int
	// Limit is how many the stream may have, as far as clients can know; Configured reports whether
	// the stream or the account says so. Otherwise it is the default of NATS servers.
	Limit      int
	Configured bool
}

// CountConsumers computes how many consumers so many drains need on a cluster. Where the cluster
// cannot be asked, it returns an error and the numbers for o.Partitions.
func CountConsumers(ctx context.Context, o Options, drains int) (Consumers, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := Consumers{Drains: drains, Partitions: max(o.Partitions, 1), Limit: serverMaxConsumers}
	var err error
	// The credentials are those of one role or of all, which only the subject of the answers tells
	// apart.
	for _, role := range []Role{roleAll, RoleRouter, RoleEnrich, roleAdmin, RoleGateway} {
		o.Role = role
		if err = c.ask(ctx, o); !errors.As(err, new(*RefusedError)) {
			break
		}
	}
	c.Needed = c.Drains * c.Partitions * consumersPerPartition
	return c, err
}

// ask asks the cluster for the number of partitions and for the limits.
func (c *Consumers) ask(ctx context.Context, o Options) error {
	b := &Bus{log: o.Log, over: make(chan struct{})}
	defer b.Close()
	if err := b.connect(ctx, &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	config, err := b.configOf(ctx, schema.StreamLogs)
	if err != nil {
		return err
	}
	account, err := guarded(ctx, b.refusals, "$JS.API.INFO", b.js.AccountInfo)
	if err != nil {
		return fmt.Errorf("ask for the limits of the NATS account: %w", err)
	}
	c.limit(config, account)
	return nil
}

// limit takes the limit and the partitions from what the cluster answers. config is nil for a
// stream that is not made yet.
func (c *Consumers) limit(config *jetstream.StreamConfig, account *jetstream.AccountInfo) {
	limit := max(account.Limits.MaxConsumers, 0)
	if config != nil {
		if n, err := strconv.Atoi(config.Metadata[partitionsKey]); err == nil && n > 0 {
			c.Partitions = n
		}
		if config.MaxConsumers > 0 && (limit == 0 || config.MaxConsumers < limit) {
			limit = config.MaxConsumers
		}
	}
	c.Configured = limit > 0
	c.Limit = cmp.Or(limit, serverMaxConsumers)
}
