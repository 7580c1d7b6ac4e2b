package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// heard is a connection that records when data last arrived from the client, and can hold back
// input.
type heard struct {
	net.Conn
	began time.Time
	last  atomic.Int64 // nanoseconds after began

	mu   sync.Mutex    // guards held
	held chan struct{} // closed by release; nil while nothing is held back
}

func newHeard(c net.Conn) *heard { return &heard{Conn: c, began: time.Now()} }

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.last.Store(int64(time.Since(h.began)))
	}
	h.mu.Lock()
	held := h.held
	h.mu.Unlock()
	if held != nil {
		<-held
	}
	return n, err
}

// hold makes Read block until release, including a Read that is waiting for the client now.
func (h *heard) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = make(chan struct{})
	}
}

// release unblocks Read.
func (h *heard) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil {
		close(h.held)
		h.held = nil
	}
}

// silence returns the time since data last arrived.
func (h *heard) silence() time.Duration { return time.Since(h.began) - time.Duration(h.last.Load()) }

// deadline returns the maximum silence of a client.
func (o *Options) deadline() time.Duration {
	return o.KeepaliveInterval * time.Duration(o.KeepaliveCount)
}

// attend sends a keepalive request to a silent client in each interval, until done is closed, and
// cuts the connection when nothing has arrived for the deadline. Any data counts: over a slow line
// an answer can be queued after a lot of output, but something arrives all the time.
func (c *connection) attend(conn ssh.Conn, done <-chan struct{}) {
	interval, deadline := c.gateway.options.KeepaliveInterval, c.gateway.options.deadline()
	var asking sync.WaitGroup
	defer asking.Wait() // the end of the connection ends it
	defer conn.Close()
	var asked atomic.Bool // a request is unanswered
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-done:
			return
		}
		silence := c.heard.silence()
		if silence >= deadline {
			c.log.Warn("connection cut: the client is silent and does not answer", "silence", silence.Round(time.Millisecond))
			c.net.Close()
			return
		}
		next := interval - silence
		if silence >= interval {
			next = min(interval, deadline-silence)
		}
		timer.Reset(next)
		if silence >= interval && !asked.Swap(true) {
			asking.Go(func() { // ends with the answer, or with the connection
				conn.SendRequest("keepalive@openssh.com", true, nil)
				asked.Store(false)
			})
		}
	}
}
