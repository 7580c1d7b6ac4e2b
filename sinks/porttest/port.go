// Package porttest reserves addresses for servers that tests start, stop and start again.
//
// A port that was found to be free can be taken before a server listens there: by an outgoing
// connection, or by another search. These ports are held until the test ends.
package porttest

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Reserve returns an address (127.0.0.1 and a port) at which nothing listens. Until the test ends,
// the kernel does not choose its port for others, but servers can listen at it explicitly, any
// number of times. Connections are refused meanwhile.
//
// A server has to set SO_REUSEADDR, as all servers do that can be started again at once.
func Reserve(t testing.TB) string {
	t.Helper()
	address, release, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}

// Hold is [Reserve] for a program that is not a test, until release.
func Hold() (address string, release func(), err error) {
	// It is bound, and does not listen.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("reserve a port: %w", err)
	}
	release = sync.OnceFunc(func() { syscall.Close(fd) })
	port, err := bind(fd)
	if err != nil {
		release()
		return "", nil, fmt.Errorf("reserve a port: %w", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), release, nil
}

func bind(fd int) (port int, err error) {
	// With this option on both sockets, a second one can be bound to this port, and the kernel does
	// not choose it for others.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return bound.(*syscall.SockaddrInet4).Port, nil
}
