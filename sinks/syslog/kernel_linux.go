package syslog

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tcpEstablished is the state of a connection that both ends have open (TCP_ESTABLISHED of Linux).
const tcpEstablished = 1

// unread is the kernel's state of the bytes written to a connection.
type unread struct {
	unacknowledged int    // bytes that the peer's kernel has not acknowledged
	acknowledged   uint64 // bytes that it has, of all that were ever sent; 0 where the kernel does not count them
	open           bool   // both ways
}

// outstanding asks the kernel for the unacknowledged bytes, and whether the connection is still
// open.
//
// The bytes are from SIOCOUTQ (tcp(7)), which counts unacknowledged and unsent bytes. TCP_INFO has
// the same only since Linux 4.6, in packets and bytes, and not under gVisor, where zeros would look
// like success. But SIOCOUTQ alone does not show that a connection was just reset, perhaps with
// bytes that the drain had not read: the state does, before the reading goroutine notices. It is
// queried last, so that it holds at the end.
func outstanding(raw syscall.RawConn) (u unread, err error) {
	failed := raw.Control(func(fd uintptr) {
		u.unacknowledged, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		if err != nil {
			err = fmt.Errorf("ask the kernel for unacknowledged bytes (SIOCOUTQ): %w", err)
			return
		}
		info, failed := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if failed != nil {
			err = fmt.Errorf("ask the kernel for the connection's state (TCP_INFO): %w", failed)
			return
		}
		u.acknowledged, u.open = info.Bytes_acked, info.State == tcpEstablished
	})
	if failed != nil {
		return unread{}, failed
	}
	return u, err
}

// acknowledge makes the kernel acknowledge at once the bytes that were read (TCP_QUICKACK). Without
// it, everything works more slowly.
func acknowledge(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}

// maxUnsent is the number of bytes that the kernel takes beyond those in flight. Bytes that it has
// when a stalled connection is closed can still arrive, in addition to the repeat of the batch.
const maxUnsent = 256 << 10

// setLimits sets how long sent bytes may stay without an acknowledgement, and how many may be
// unsent.
func setLimits(raw syscall.RawConn, timeout time.Duration) error {
	if err := setUserTimeout(raw, timeout); err != nil {
		return err
	}
	var err error
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("set TCP_NOTSENT_LOWAT: %w", err)
	}
	return nil
}

// setUserTimeout bounds how long sent bytes may stay without an acknowledgement (TCP_USER_TIMEOUT).
func setUserTimeout(raw syscall.RawConn, limit time.Duration) error {
	var err error
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(limit.Milliseconds(), 1)))
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}
