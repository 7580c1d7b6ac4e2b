package syslog

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// A balancer is a load balancer that ends TLS itself: it accepts connections and reads from them
// whether or not there is a server behind it.
type balancer struct {
	mu          sync.Mutex // guards what follows
	connections int
	got         []uint64 // sequences of the messages that a server behind it has, in the order of arrival
}

// read reads messages from a connection and gives them to a server, at most limit of them.
func (b *balancer) read(conn net.Conn, limit int) {
	r := bufio.NewReader(conn)
	for range limit {
		length, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return
		}
		p, err := syslogtest.Parse(message)
		if err != nil {
			return
		}
		sequence, _ := strconv.ParseUint(p.Params["session@32473"]["sequence"], 10, 64)
		b.mu.Lock()
		b.got = append(b.got, sequence)
		b.mu.Unlock()
	}
}

// checkDelivered waits until a server has the records 1 to n, and checks that their first arrivals
// are in order and that none came more often than there were connections. It returns how many came.
func (b *balancer) checkDelivered(t *testing.T, n int) int {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		b.mu.Lock()
		got, connections := slices.Clone(b.got), b.connections
		b.mu.Unlock()
		next, times := uint64(1), make(map[uint64]int)
		for _, sequence := range got {
			if times[sequence]++; times[sequence] > connections {
				t.Fatalf("record %d came %d times over %d connections", sequence, times[sequence], connections)
			}
			if sequence > next {
				t.Fatalf("record %d came where %d belongs: %v", sequence, next, got)
			}
			if sequence == next {
				next++
			}
		}
		if int(next) == n+1 {
			return len(got)
		}
		if time.Now().After(deadline) {
			t.Fatalf("record %d is lost; the server has %v", next, got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAcceptedAndClosed has a load balancer whose server is down. It accepts connections, reads
// what comes, and closes them.
func TestAcceptedAndClosed(t *testing.T) {
	b := new(balancer)
	down := make(chan struct{}) // closed when the first connection is to end
	const dead = 4              // connections without a server
	address, trust := listen(t, 0, func(conn *tls.Conn) {
		b.mu.Lock()
		b.connections++
		number := b.connections
		b.mu.Unlock()
		go func() { // ends with the connection
			defer conn.Close()
			switch {
			case number == 1:
				go io.Copy(io.Discard, conn)
				<-down
			case number <= dead:
				conn.Read(make([]byte, 1)) // and more is in the kernel's buffer
			default:
				b.read(conn, 1<<30)
			}
		}()
	})
	sink := open(t, Options{Address: address, TLS: trust, ConnectionGrace: 2 * time.Second})
	defer sink.Close()
	for i := range 3 {
		if err := sink.Write(t.Context(), numbered(1+3*i, 3, 50)); err != nil {
			t.Fatal(err) // it can't be known
		}
	}
	first := sink.conn
	close(down)
	<-first.ended
	for range dead { // the end of the first connection is noticed, and then the others end
		checkVerdict(t, sink.Write(t.Context(), numbered(10, 3, 50)), sinks.Retry, "")
	}
	if err := sink.Write(t.Context(), numbered(10, 3, 50)); err != nil {
		t.Fatal(err)
	}
	if n := b.checkDelivered(t, 12); n != 12 {
		t.Errorf("the server has %d messages, want each record once", n)
	}
	// The connection has proven itself: nothing waits any more, and nothing is sent again.
	for i := range 3 {
		write(t, sink, numbered(13+i, 1, 50))
	}
	if n := b.checkDelivered(t, 15); n != 15 {
		t.Errorf("the server has %d messages, want each record once", n)
	}
}

// TestFlapping has a server behind a load balancer that comes and goes: some connections are only
// accepted, others end after a few messages.
func TestFlapping(t *testing.T) {
	b := new(balancer)
	limits := []int{0, 2, 0, 0, 1, 5, 0, 1 << 30} // messages that a server reads of each connection
	address, trust := listen(t, 0, func(conn *tls.Conn) {
		b.mu.Lock()
		limit := limits[min(b.connections, len(limits)-1)]
		b.connections++
		b.mu.Unlock()
		go func() { // ends with the connection
			defer conn.Close()
			if limit == 0 {
				conn.Read(make([]byte, 1000))
				return
			}
			b.read(conn, limit)
		}()
	})
	sink := open(t, Options{Address: address, TLS: trust, ConnectionGrace: 2 * time.Second})
	defer sink.Close()
	const batches, records = 12, 3
	for i := range batches {
		for tries := 0; ; tries++ {
			err := sink.Write(t.Context(), numbered(1+records*i, records, 50))
			if err == nil {
				break
			}
			if e := sinks.AsError(err); e.Verdict != sinks.Retry || tries > 2*len(limits) {
				t.Fatal(err)
			}
		}
	}
	b.checkDelivered(t, batches*records)
}

// TestHAProxy has a real load balancer, which ends TLS, and rsyslog behind it that is stopped while
// records are delivered, twice.
func TestHAProxy(t *testing.T) {
	drain := syslogtest.StartRsyslog(t, syslogtest.Options{})
	address := syslogtest.StartHAProxy(t, drain)
	// haproxy gives a server that refuses connections up after three seconds.
	sink := open(t, Options{Address: address, TLS: drain.TLS(), ConnectionGrace: 5 * time.Second})
	defer sink.Close()
	next, failed := 1, 0
	batch := func() []sinks.Entry { return numbered(next, 2, 50) }
	for range 2 {
		for range 5 {
			write(t, sink, batch())
			next += 2
		}
		drain.Stop(t)
		failed = 0
		for range 5 { // most of them are acknowledged by haproxy's kernel
			if err := sink.Write(t.Context(), batch()); err != nil {
				if e := sinks.AsError(err); e.Verdict != sinks.Retry {
					t.Fatal(err)
				}
				failed++
				continue
			}
			next += 2
		}
		if failed == 0 {
			t.Error("no write failed while there was no server")
		}
		drain.Start(t)
		for range 5 {
			write(t, sink, batch())
			next += 2
		}
	}
	holds(t, drain, next-1)
}

// TestSettle has the records of the last batch lost: a write without entries delivers them again.
func TestSettle(t *testing.T) {
	b := new(balancer)
	down := make(chan struct{}) // closed when the first connection is to end
	address, trust := listen(t, 0, func(conn *tls.Conn) {
		b.mu.Lock()
		b.connections++
		number := b.connections
		b.mu.Unlock()
		go func() { // ends with the connection
			defer conn.Close()
			switch number {
			case 1:
				go io.Copy(io.Discard, conn)
				<-down
			case 2:
				conn.Read(make([]byte, 1))
			default:
				b.read(conn, 1<<30)
			}
		}()
	})
	sink := open(t, Options{Address: address, TLS: trust, ConnectionGrace: 2 * time.Second})
	defer sink.Close()
	if err := sink.Write(t.Context(), numbered(1, 3, 50)); err != nil {
		t.Fatal(err) // it can't be known
	}
	if err := sink.Write(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first := sink.conn
	close(down)
	<-first.ended
	for range 2 { // the end of the first connection is noticed, and then the second ends
		checkVerdict(t, sink.Write(t.Context(), nil), sinks.Retry, "")
	}
	for range 2 {
		if err := sink.Write(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.checkDelivered(t, 3); n != 3 {
		t.Errorf("the server has %d messages, want each record once", n)
	}
}
