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
	// consumersPerPartition is the maximum number of consumers of LOGS that a drain has for each
	// partition: one to read, and one to count its lag.
	consumersPerPartition = 2
	// serverMaxConsumers is the default limit of consumers per stream of NATS servers. Clients
	// cannot query the configured value of default_max_consumers.
	serverMaxConsumers = 1000
)

// Consumers compares the consumers that the drains need on the stream LOGS of a cluster with the
// limit.
type Consumers struct {
	Drains, Partitions int
	// Needed is the maximum number of consumers that the drains have at the same time.
	Needed int
	// Limit is the maximum number of consumers of the stream, as far as clients can know;
	// Configured reports whether the stream or the account sets it. Otherwise it is the default of
	// NATS servers.
	Limit      int
	Configured bool
}

// CountConsumers returns the consumers that a number of drains need on a cluster. If the cluster
// cannot be queried, it returns an error and the numbers for o.Partitions.
func CountConsumers(ctx context.Context, o Options, drains int) (Consumers, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := Consumers{Drains: drains, Partitions: max(o.Partitions, 1), Limit: serverMaxConsumers}
	var err error
	// The credentials belong to one role or to all; only the permitted inbox prefix distinguishes
	// them.
	for _, role := range []Role{roleAll, RoleRouter, RoleEnrich, roleAdmin, RoleGateway} {
		o.Role = role
		if err = c.ask(ctx, o); !errors.As(err, new(*RefusedError)) {
			break
		}
	}
	c.Needed = c.Drains * c.Partitions * consumersPerPartition
	return c, err
}

// ask queries the cluster for the number of partitions and for the limits.
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
		return fmt.Errorf("query the limits of the NATS account: %w", err)
	}
	c.limit(config, account)
	return nil
}

// limit sets the limit and the partitions from the cluster's answers. config is nil if the stream
// does not exist yet.
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
