package resources

import (
	"fmt"
	"syscall"
)

// Descriptors divide the file descriptors of a process among its connections. The store, the drains
// and everything else have the rest.
type Descriptors struct {
	// Limit is the number of files that the process may have open. Go raises the soft limit to the
	// hard one when a process starts.
	Limit int
	// Admin and AdminPerAddress bound the connections to the admin address, and those from one
	// address.
	Admin, AdminPerAddress int
	// Gateway bounds the connections to the gateway.
	Gateway int
}

const (
	// minReserved is the smallest number of descriptors for everything but connections, which gets at
	// least a quarter of the limit.
	minReserved = 256
	// perConnection is the number of descriptors for each connection to the gateway: one with a
	// session takes six.
	perConnection = 6
	// minGateway is the number of connections below which a gateway is of no use.
	minGateway = 16
)

// AdminConnections are the configured bounds of the admin server, and the connections that it
// accepts at its socket in addition.
type AdminConnections struct{ Max, PerAddress, Socket int }

// DivideDescriptors divides the descriptors that this process may have.
func DivideDescriptors(admin AdminConnections) (Descriptors, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return Descriptors{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	return divide(int(min(uint64(limit.Cur), 1<<30)), admin)
}

func divide(limit int, admin AdminConnections) (Descriptors, error) {
	d := Descriptors{Limit: limit}
	d.Admin = min(admin.Max, limit/8)
	d.AdminPerAddress = min(admin.PerAddress, max(d.Admin/2, 1))
	if d.Admin == admin.Max {
		d.AdminPerAddress = admin.PerAddress
	}
	d.Gateway = (limit - max(minReserved, limit/4) - d.Admin - admin.Socket) / perConnection
	if d.Gateway < minGateway {
		return d, fmt.Errorf("this process may have %d files open, which is too few: raise the limit (ulimit -n, LimitNOFILE of systemd) to 1024 or more", limit)
	}
	return d, nil
}
