//go:build !linux

package syslog

import (
	"syscall"
	"time"
)

// unread is the kernel's state of the bytes written to a connection: see that of Linux.
type unread struct {
	unacknowledged int
	acknowledged   uint64
	open           bool
}

// outstanding knows nothing outside Linux: what the kernel has taken counts as acknowledged.
func outstanding(syscall.RawConn) (unread, error) { return unread{open: true}, nil }

// setLimits does nothing outside Linux: the system's own limits hold.
func setLimits(syscall.RawConn, time.Duration) error { return nil }

// acknowledge does nothing outside Linux: the kernel acknowledges when it wants to.
func acknowledge(syscall.RawConn) {}
