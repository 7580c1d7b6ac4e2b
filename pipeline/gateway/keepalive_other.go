//go:build !linux

package gateway

import (
	"net"
	"time"
)

// setUserTimeout does nothing on this system: attend cuts the connection.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
