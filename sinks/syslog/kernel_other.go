//go:build !linux

package syslog

import (
	"syscall"
	"time"
)

// outstanding knows nothing outside Linux: what the kernel has taken counts as acknowledged.
func outstanding(syscall.RawConn) (unacknowledged int, open bool, err error) { return 0, true, nil }

// setUserTimeout does nothing outside Linux: the system's own limit holds.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
