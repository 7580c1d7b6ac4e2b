package sinktest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// A Proxy forwards bytes between a sink and its drain, and fails on demand.
type Proxy struct {
	address, drain string
	running        sync.WaitGroup // of the goroutines, which end when their connection or listener is closed

	mu       sync.Mutex // guards the fields below
	listener net.Listener
	accepted chan struct{} // closed when nothing more of listener is accepted
	open     map[*proxied]bool
	// stalled is not nil while nothing is passed on; held is closed when something was held back.
	stalled chan struct{}
	held    chan struct{}
	isHeld  bool
	most    int // bytes from the sink after which a connection is cut; 0: any number
	first   int // bytes from the sink that a connection passes on; 0: any number
}

// NewProxy starts a proxy for the drain at the address (host:port, TCP), and ends it with the test.
func NewProxy(t *testing.T, drain string) *Proxy {
	t.Helper()
	p := &Proxy{address: porttest.Reserve(t), drain: drain, open: make(map[*proxied]bool)}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Address returns the address for the sink: 127.0.0.1 and a port.
func (p *Proxy) Address() string { return p.address }

// Cut closes all connections and the port: the drain is gone, until Mend.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		<-p.accepted // until then the kernel takes connections
		p.listener = nil
	}
	p.closeAll()
	p.flow()
}

// Stall stops forwarding: the drain hangs, until Mend. The channel is closed when the proxy holds
// something back: a connection, or bytes for the drain.
func (p *Proxy) Stall() (held <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled, p.held, p.isHeld = make(chan struct{}), make(chan struct{}), false
	return p.held
}

// CutAfter closes each connection when so many bytes have come from the sink, as a server does that
// does not read on in a request which is too large for it; 0 for never. Those that are open are
// closed.
func (p *Proxy) CutAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = bytes
	p.closeAll()
}

// HoldAfter makes each new connection pass on only so many bytes from the sink and drop the rest:
// the drain gets the beginning of a batch and never all of it; 0 is no limit. The drain's answers
// are passed on.
func (p *Proxy) HoldAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = bytes
}

// limits returns those of CutAfter and of HoldAfter for a new connection.
func (p *Proxy) limits() (most, first int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most, p.first
}

// Mend ends a Cut or a Stall. What a Stall held back is lost with its connections.
func (p *Proxy) Mend(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		if err := p.listen(); err != nil {
			t.Fatalf("take up the drain's port again: %v", err)
		}
	}
	if p.stalled != nil {
		p.closeAll()
	}
	p.flow()
}

// flow ends a stall. p.mu is held.
func (p *Proxy) flow() {
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// A proxied connection is closed when Close returns, even where another goroutine has begun to
// close it.
type proxied struct {
	*net.TCPConn
	closing sync.Once
}

func (c *proxied) Close() error {
	c.closing.Do(func() { c.TCPConn.Close() }) // it returns after the system call
	return nil
}

// closeAll closes the connections. p.mu is held.
func (p *Proxy) closeAll() {
	for c := range p.open {
		c.Close()
		delete(p.open, c)
	}
}

func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	accepted := make(chan struct{})
	p.listener, p.accepted = l, accepted
	p.running.Go(func() { // ends when l is closed
		defer close(accepted)
		p.accept(l)
	})
	return nil
}

func (p *Proxy) accept(l net.Listener) {
	for {
		accepted, err := l.Accept()
		if err != nil {
			return
		}
		sink := &proxied{TCPConn: accepted.(*net.TCPConn)}
		// A small buffer, so that a stall is felt soon by those who write and do not wait for a
		// response.
		sink.SetReadBuffer(64 << 10)
		p.running.Go(func() { p.serve(sink) }) // ends when sink is closed, by either end or by closeAll
	}
}

// serve passes on between the sink and the drain.
func (p *Proxy) serve(sink *proxied) {
	defer sink.Close()
	if !p.track(sink) || !p.pass() {
		return
	}
	dialled, err := net.Dial("tcp", p.drain)
	if err != nil {
		return
	}
	drain := &proxied{TCPConn: dialled.(*net.TCPConn)}
	defer drain.Close()
	if !p.track(drain) {
		return
	}
	most, first := p.limits()
	var both sync.WaitGroup
	both.Go(func() { p.copy(drain, sink, most, first) })
	both.Go(func() { p.copy(sink, drain, 0, 0) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, sink)
	delete(p.open, drain)
}

// track makes the connection one that closeAll closes, unless the proxy is cut.
func (p *Proxy) track(c *proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return false
	}
	p.open[c] = true
	return true
}

// pass waits while the proxy is stalled, and reports whether it was not.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	stalled := p.stalled
	if stalled != nil && !p.isHeld {
		p.isHeld = true
		close(p.held)
	}
	p.mu.Unlock()
	if stalled == nil {
		return true
	}
	<-stalled
	return false
}

// copy passes on from one end to the other. After most bytes, if that is not 0, it closes both. If
// first is not 0, it drops all bytes after so many.
func (p *Proxy) copy(to, from *proxied, most, first int) {
	buffer := make([]byte, 16<<10)
	for all := 0; ; {
		n, err := from.Read(buffer)
		if all += n; most > 0 && all > most {
			from.Close()
			to.Close()
			return
		}
		if over := all - first; first > 0 && over > 0 {
			n = max(n-over, 0)
		}
		if n > 0 {
			if !p.pass() {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				to.CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}
