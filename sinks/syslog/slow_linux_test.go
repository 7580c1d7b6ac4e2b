package syslog

import (
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// A slowServer reads what each connection sends, and keeps it.
type slowServer struct {
	mu          sync.Mutex // guards what follows
	connections []*[]byte
}

func (s *slowServer) add() *[]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := new([]byte)
	s.connections = append(s.connections, data)
	return data
}

// sequences returns those of the messages of a connection that are whole.
func (s *slowServer) sequences(t *testing.T, connection int) (all []uint64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	data := *s.connections[connection]
	for n := len(data); ; n-- { // without the message that is cut
		if messages, err := syslogtest.Split(data[:n], false); err == nil {
			for _, m := range messages {
				p, err := syslogtest.Parse(m)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, gotOf(t, p).Sequence)
			}
			return all
		}
	}
}

// TestSlowReceiver: a batch that takes many times the timeout is delivered once, for as long as the
// receiver takes a part of it within the timeout.
func TestSlowReceiver(t *testing.T) {
	const timeout = 2 * time.Second
	var server slowServer
	address, trust := listen(t, 4<<10, func(conn *tls.Conn) {
		data := server.add()
		go func() { // ends with the connection
			buffer := make([]byte, 16<<10)
			for {
				n, err := conn.Read(buffer)
				server.mu.Lock()
				*data = append(*data, buffer[:n]...)
				server.mu.Unlock()
				if err != nil {
					return
				}
				time.Sleep(25 * time.Millisecond)
			}
		}()
	})
	sink := open(t, Options{Address: address, TLS: trust, Timeout: timeout})
	defer sink.Close()
	batch := numbered(1, 512, 6<<10)
	began := time.Now()
	if err := sink.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*timeout {
		t.Errorf("the batch took %v: it has to be larger", took)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if n := len(server.connections); n != 1 {
		t.Errorf("there were %d connections", n)
	}
}

// TestStalledReceiver: of a batch that the receiver stops reading, the records that it has
// confirmed count, and the others are sent again over a new connection.
func TestStalledReceiver(t *testing.T) {
	var server slowServer
	resume, done := make(chan struct{}), make(chan struct{})
	address, trust := listen(t, 64<<10, func(conn *tls.Conn) {
		data := server.add()
		first := len(server.connections) == 1
		go func() { // ends with the connection
			buffer := make([]byte, 16<<10)
			for {
				n, err := conn.Read(buffer)
				server.mu.Lock()
				*data = append(*data, buffer[:n]...)
				size := len(*data)
				server.mu.Unlock()
				if err != nil {
					break
				}
				if first && size > 512<<10 {
					<-resume
				}
			}
			if first {
				close(done)
			}
		}()
	})
	sink := open(t, Options{Address: address, TLS: trust, Timeout: time.Second, ConnectionGrace: time.Millisecond})
	batch := numbered(1, 600, 6<<10)
	err := sink.Write(t.Context(), batch)
	var failure *sinks.Error
	if !errors.As(err, &failure) || failure.Verdict != sinks.Retry || failure.TimedOut == 0 || failure.TimedOut != len(failure.Items) || !errors.Is(err, errSlow) {
		t.Fatalf("%+v", err)
	}
	confirmed := failure.Items[0].Index
	if confirmed == 0 || failure.Items[len(failure.Items)-1].Index != len(batch)-1 || len(failure.Items) != len(batch)-confirmed {
		t.Fatalf("%d records are confirmed, %d not", confirmed, len(failure.Items))
	}
	if err := sink.Write(t.Context(), batch[confirmed:]); err != nil {
		t.Fatal(err)
	}
	close(resume)
	<-done
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	first, second := server.sequences(t, 0), server.sequences(t, 1)
	// What the first connection has beyond was in the kernels' buffers when it was closed.
	if len(first) < confirmed || len(first) > confirmed+300 || len(second) != len(batch)-confirmed || second[0] != uint64(confirmed)+1 {
		t.Errorf("%d records are confirmed, the first connection has %d, the second %d from %d on", confirmed, len(first), len(second), second[0])
	}
}
