package receive

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// handshakeTimeout bounds the duration of a TLS handshake.
const handshakeTimeout = 10 * time.Second

// syslogServer accepts RFC 5424 messages over TLS (RFC 5425), in either framing of RFC 6587.
type syslogServer struct {
	r       *Receiver
	readers sync.WaitGroup // the goroutines of connections

	mu       sync.Mutex // guards the fields below
	conns    map[*tls.Conn]bool
	stopping bool
}

func newSyslogServer(r *Receiver) *syslogServer {
	return &syslogServer{r: r, conns: make(map[*tls.Conn]bool)}
}

func (s *syslogServer) serve() error {
	for {
		conn, err := s.r.syslog.Accept()
		if err == nil {
			s.start(tls.Server(conn, s.r.config))
			continue
		}
		if s.isStopping() {
			return nil
		}
		return fmt.Errorf("serve syslog: %w", err)
	}
}

func (s *syslogServer) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// start reads a connection in a goroutine, which ends when the connection does.
func (s *syslogServer) start(conn *tls.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		conn.NetConn().Close()
		return
	}
	s.conns[conn] = true
	s.readers.Go(func() {
		err := s.read(conn)
		s.mu.Lock()
		delete(s.conns, conn)
		stopping := s.stopping
		s.mu.Unlock()
		conn.Close()
		switch {
		case err == nil:
		case stopping && errors.Is(err, net.ErrClosed):
			s.r.log.Warn("syslog: closing a connection that did not finish in time", "peer", conn.RemoteAddr().String())
		default:
			s.r.log.Warn("syslog: connection closed", "peer", conn.RemoteAddr().String(), "error", err)
		}
	})
}

// read delivers the messages of a connection. It returns nil if the connection ends after a
// complete message.
func (s *syslogServer) read(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), handshakeTimeout, errors.New("the client took too long"))
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	peer := conn.RemoteAddr().String()
	frames := newFrameReader(conn, s.r.o.MaxMessage)
	for number := 1; ; number++ {
		frame, err := frames.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // with or without a TLS close_notify
			return nil
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
		m, err := ParseMessage(frame)
		if err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
		received := Received{Drain: Syslog, Peer: peer, Record: RecordOf(m), Raw: bytes.Clone(frame), Syslog: m}
		if !s.r.deliver("", []Received{received}) {
			return errors.New("the receiver has stopped")
		}
	}
}

// stop signals the clients that no more is read, reads on until they close their connections, and
// closes the remaining ones when ctx is done. Syslog has no acknowledgement except TCP's, so what a
// client's kernel considers delivered should be read.
func (s *syslogServer) stop(ctx context.Context) {
	s.mu.Lock()
	s.stopping = true
	s.r.syslog.Close()
	conns := make([]*tls.Conn, 0, len(s.conns))
	for conn := range s.conns {
		conns = append(conns, conn)
	}
	s.mu.Unlock()

	// closeAll bounds the wait: sending close_notify needs a lock that a client which reads
	// nothing, or an unfinished handshake, can block for seconds.
	closeAll := context.AfterFunc(ctx, func() {
		for _, conn := range conns {
			conn.NetConn().Close()
		}
	})
	defer closeAll()
	var notifying sync.WaitGroup
	for _, conn := range conns {
		notifying.Go(func() {
			if conn.CloseWrite() != nil { // the handshake is not complete
				conn.NetConn().Close()
			}
		})
	}
	notifying.Wait()
	s.readers.Wait()
}
