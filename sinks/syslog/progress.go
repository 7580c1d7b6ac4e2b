package syslog

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A countedConn counts the bytes that the kernel has taken.
type countedConn struct {
	*net.TCPConn
	taken atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.taken.Add(int64(n))
	return n, err
}

// chunk is how many bytes are written at once: of fewer, nobody knows whether the drain has a part.
const chunk = 64 << 10

// A mark is a place in what is delivered: when the kernel had taken so many bytes, all up to it was written.
type mark struct {
	plain int
	taken int64
}

// A progress follows the acknowledgements of one delivery, and ends it when none come any more.
type progress struct {
	conn    *connection
	timeout time.Duration
	cancel  context.CancelCauseFunc
	marks   []mark // used by the delivery alone

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	acked int64     // of the bytes that the kernel has taken, at least
	seen  uint64    // acknowledged bytes by the kernel's own count
	at    time.Time // of the last acknowledgement that was seen
	ended bool
}

// follow begins to follow a delivery. It cancels its context with errSlow when there was no progress for
// the timeout. end has to be called.
func (c *connection) follow(timeout time.Duration, cancel context.CancelCauseFunc) *progress {
	p := &progress{conn: c, timeout: timeout, cancel: cancel, acked: c.counted.taken.Load(), at: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(p.interval(), p.check)
	return p
}

// interval returns how long to wait between two looks.
func (p *progress) interval() time.Duration {
	return min(max(p.timeout/8, time.Millisecond), time.Second)
}

// check is called by the timer, until end.
func (p *progress) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.look()
	if time.Since(p.at) >= p.timeout {
		p.cancel(errSlow)
		return
	}
	p.timer.Reset(p.interval())
}

// look asks the kernel how much is acknowledged. p.mu is held.
func (p *progress) look() {
	taken := p.conn.counted.taken.Load() // before the kernel has more, so that acked is rather too low
	u, err := outstanding(p.conn.raw)
	if err != nil || !u.open {
		return
	}
	acked := max(p.acked, taken-int64(u.unacknowledged))
	if acked > p.acked || u.acknowledged > p.seen {
		p.acked, p.seen, p.at = acked, u.acknowledged, time.Now()
	}
}

// end ends the looks. It returns how many of the bytes that were to be delivered are acknowledged, at
// least, and when the last acknowledgement was seen.
func (p *progress) end() (confirmed int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
	for _, m := range p.marks {
		if m.taken <= p.acked {
			confirmed = m.plain
		}
	}
	return confirmed, p.at
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
