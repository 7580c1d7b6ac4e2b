package syslog

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A countedConn counts the bytes that the kernel has taken.
type countedConn struct {
	*net.TCPConn
	raw   syscall.RawConn
	taken atomic.Int64
	// answered means that the drain answers, and its responses are acknowledged at once. Otherwise
	// librelp's kernel delays the second answer until the first is acknowledged (RFC 896), after 40
	// ms.
	answered bool
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.answered {
		acknowledge(c.raw)
	}
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.taken.Add(int64(n))
	return n, err
}

// chunk is the number of bytes that are written at once: progress is known in units of it.
const chunk = 64 << 10

// A mark is a position in the delivered bytes: all before it was written when the kernel had taken
// so many bytes.
type mark struct {
	plain int
	taken int64
}

// A progress follows the acknowledgements of the drain's kernel in one delivery.
type progress struct {
	conn  *connection
	marks []mark // used by the delivery alone
	stall *stall // its mu guards the fields below

	acked int64  // of the bytes that the kernel has taken, at least
	seen  uint64 // acknowledged bytes by the kernel's own count
}

// follow begins to follow a delivery, which has to call end.
func (c *connection) follow(timeout time.Duration, cancel context.CancelCauseFunc) *progress {
	p := &progress{conn: c, acked: c.counted.taken.Load()}
	p.stall = watchProgress(timeout, cancel, p.advanced)
	return p
}

// advanced asks the kernel for the acknowledged bytes, and reports whether there are more than
// before.
func (p *progress) advanced() bool {
	taken := p.conn.counted.taken.Load() // before the kernel has more, so that acked is rather too low
	u, err := outstanding(p.conn.counted.raw)
	if err != nil || !u.open {
		return false
	}
	acked := max(p.acked, taken-int64(u.unacknowledged))
	more := acked > p.acked || u.acknowledged > p.seen
	p.acked, p.seen = acked, u.acknowledged
	return more
}

// end ends the checks. It returns the number of delivered bytes that are acknowledged, at least,
// and the time of the last acknowledgement that was seen.
func (p *progress) end() (confirmed int, at time.Time) {
	at = p.stall.end()
	for _, m := range p.marks {
		if m.taken <= p.acked { // nothing changes it any more
			confirmed = m.plain
		}
	}
	return confirmed, at
}

// write writes data to the connection.
func (p *progress) write(conn *tls.Conn, data []byte) error {
	plain := 0
	if n := len(p.marks); n > 0 {
		plain = p.marks[n-1].plain
	}
	for len(data) > 0 {
		n := min(len(data), chunk)
		if _, err := conn.Write(data[:n]); err != nil {
			return err
		}
		plain += n
		data = data[n:]
		p.marks = append(p.marks, mark{plain, p.conn.counted.taken.Load()})
	}
	return nil
}
