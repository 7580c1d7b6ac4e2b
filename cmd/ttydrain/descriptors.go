package main

import (
	"fmt"
	"syscall"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
)

// A descriptorBudget divides the file descriptors that the process may have open, so that no number
// of connections keeps the store from its files. Go raises the soft limit to the hard one when a
// process starts.
type descriptorBudget struct {
	limit   int
	admin   admin.Limits
	gateway int // connections
}

const (
	// minReserved is the smallest number of descriptors that are kept for the store, the drains and
	// everything else; at least a quarter of the limit is.
	minReserved = 256
	// perConnection is the number of descriptors for each connection to the gateway: one with a
	// session takes six.
	perConnection = 6
	// minGateway is the number of connections to the gateway below which it is of no use.
	minGateway = 16
)

// newDescriptorBudget divides the limit of this process. Without one, the limits of the
// configuration hold.
func newDescriptorBudget(c *config.Config) (descriptorBudget, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return descriptorBudget{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	return divideDescriptors(int(min(uint64(limit.Cur), 1<<30)), c.Admin.Limits)
}

func divideDescriptors(limit int, wanted config.AdminLimits) (descriptorBudget, error) {
	b := descriptorBudget{limit: limit}
	b.admin.Connections = min(wanted.MaxConnections, limit/8)
	b.admin.PerAddress = min(wanted.MaxConnectionsPerAddress, max(b.admin.Connections/2, 1))
	if b.admin.Connections == wanted.MaxConnections {
		b.admin.PerAddress = wanted.MaxConnectionsPerAddress
	}
	b.gateway = (limit - max(minReserved, limit/4) - b.admin.Connections - admin.SocketConnections) / perConnection
	if b.gateway < minGateway {
		return b, fmt.Errorf("this process may have %d files open, which is too few: raise the limit (ulimit -n, LimitNOFILE of systemd) to 1024 or more", limit)
	}
	return b, nil
}

// gatewayLimits returns the limits of SSH that a configuration sets, as far as the limit of open
// files allows them.
func (n *node) gatewayLimits(c *config.Config) gateway.Limits {
	limits := gatewayLimits(&c.Gateway)
	if b := n.descriptors; limits.MaxConnections > b.gateway {
		n.log.Info("the limit of open files bounds the SSH connections: raise it for more (ulimit -n, LimitNOFILE of systemd)",
			"open_files", b.limit, "max_connections", b.gateway, "configured", limits.MaxConnections)
		limits.MaxConnections = b.gateway
	}
	return limits
}
