package sinktest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is a name server that has one name, which can move. The Go resolver of this process asks
// it, and it alone, until the test ends: tests that use it do not run in parallel with others.
type Names struct {
	// Name is the one name.
	Name string

	mu      sync.Mutex // guards address
	address netip.Addr
}

// NewNames starts a name server whose name has an IPv4 address.
func NewNames(t testing.TB, address string) *Names {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Names{Name: "drain.test"}
	n.Move(address)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	var serving sync.WaitGroup
	serving.Go(func() { n.serve(server) }) // ends when server is closed
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
		serving.Wait()
	})
	return n
}

// Move points the name to another address.
func (n *Names) Move(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.address = netip.MustParseAddr(address)
}

func (n *Names) serve(server net.PacketConn) {
	packet := make([]byte, 1500)
	for {
		size, from, err := server.ReadFrom(packet)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(packet[:size]) != nil || len(question.Questions) != 1 {
			continue
		}
		reply := n.answer(question)
		if data, err := reply.Pack(); err == nil {
			_, _ = server.WriteTo(data, from) // the resolver asks again
		}
	}
}

func (n *Names) answer(m dnsmessage.Message) dnsmessage.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Questions[0]
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	switch {
	case strings.TrimSuffix(q.Name.String(), ".") != n.Name:
		reply.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: n.address.As4()},
		}}
	}
	return reply
}
