package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// cutFor is the time for which TestNATSCluster cuts the network.
const cutFor = 10 * time.Second

// A natsCluster is three NATS servers, each a process, with a network among them, and between them
// and the clients, that can be cut.
type natsCluster struct {
	t       testing.TB
	servers [3]*part
	monitor [3]string            // monitoring addresses a server stands
	clients [3]*sinktest.Proxy   // in front of each server
	routes  [3][]*sinktest.Proxy // to each server: from the two others, and to the address that it announces the two others, and for whom it tells of itself
}

// startNATSCluster starts one.
func startNATSCluster(t *testing.T) *natsCluster {
	t.Helper()
	c := &natsCluster{t: t}
	var listen, cluster [3]string
	for i := range c.servers {
		listen[i], cluster[i], c.monitor[i] = porttest.Reserve(t), porttest.Reserve(t), porttest.Reserve(t)
		c.clients[i] = sinktest.NewProxy(t, listen[i])
	}
	for i := range c.servers {
		advertised := sinktest.NewProxy(t, cluster[i])
		c.routes[i] = append(c.routes[i], advertised)
		var routes []string
		for j := range c.servers {
			if i != j {
				p := sinktest.NewProxy(t, cluster[j])
				c.routes[j] = append(c.routes[j], p)
				routes = append(routes, "nats://route:route-password@"+p.Address())
			}
		}
		// Servers announce the addresses of all to each other and to clients: here none bypasses the
		// proxies.
		settings := fmt.Sprintf("server_name: server-%d\nhttp: %q\nclient_advertise: %q\n"+
			"cluster { name: test, listen: %q, advertise: %q, no_advertise: true, authorization { user: route, password: route-password }, routes: [%s] }",
			i, c.monitor[i], c.clients[i].Address(), cluster[i], advertised.Address(), strings.Join(routes, ", "))
		c.servers[i] = startPart(t, fmt.Sprintf("NATS server %d", i), natsProgram(t), "-c", natsConfig(t, listen[i], settings))
	}
	return c
}

// addresses are those of the servers for clients.
func (c *natsCluster) addresses() (all []string) {
	for _, p := range c.clients {
		all = append(all, p.Address())
	}
	return all
}

// leader returns the number of the server that leads a stream, or -1 if none is known.
func (c *natsCluster) leader(stream string) int {
	c.t.Helper()
	for _, address := range c.monitor {
		client := http.Client{Timeout: 5 * time.Second}
		r, err := client.Get("http://" + address + "/jsz?streams=true")
		if err != nil {
			continue // it starts
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			continue
		}
		var state struct {
			Accounts []struct {
				Streams []struct {
					Name    string
					Cluster struct{ Leader string }
				} `json:"stream_detail"`
			} `json:"account_details"`
		}
		if err := json.Unmarshal(body, &state); err != nil {
			c.t.Fatalf("%v: %s", err, body)
		}
		for _, account := range state.Accounts {
			for _, s := range account.Streams {
				for i := range c.servers {
					if s.Name == stream && s.Cluster.Leader == fmt.Sprintf("server-%d", i) {
						return i
					}
				}
			}
		}
	}
	return -1
}

// killLeader kills the server that leads a stream, and starts it again.
func (c *natsCluster) killLeader(stream string) {
	c.t.Helper()
	i := -1
	await(c.t, "for a leader of "+stream, func() bool { i = c.leader(stream); return i >= 0 })
	c.t.Logf("killing %s, which leads %s", c.servers[i].name, stream)
	c.servers[i].kill()
}

// cut drops everything among the servers for some time and, if clients is set, between them and the
// clients. Then there are new connections.
func (c *natsCluster) cut(t *testing.T, people *crowd, clients bool) {
	t.Helper()
	all := c.routes[0]
	all = append(append(all[:len(all):len(all)], c.routes[1]...), c.routes[2]...)
	if clients {
		all = append(all, c.clients[:]...)
	}
	t.Logf("cutting the network for %s, that of the clients too: %t", cutFor, clients)
	for _, p := range all {
		p.Stall()
	}
	<-time.After(cutFor / 2) // everything in flight is stored by now
	before := people.lines()
	<-time.After(cutFor / 2)
	if after := people.lines(); after != before {
		t.Errorf("people have seen %d lines while nothing could be recorded", after-before)
	}
	for _, p := range all {
		p.Mend(t)
	}
}

// TestNATSCluster runs the parts of ttydrain on a NATS cluster whose leaders are killed and whose
// network is cut while users work: nothing that was seen is lost, and everything recovers by
// itself.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	drains := []*destination{
		httpsDrain(t, "ndjson", ", format: ndjson"),
		syslogDrain(t, "rsyslog", syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true}), true),
	}
	cluster := startNATSCluster(t)
	address := porttest.Reserve(t)
	site := newSite(t, withoutRaces, withListen(address), entries(drains))
	site.onNATS(3, cluster.addresses()...)
	site.forACrowd()
	gateway := site.part("the gateway", "gateway")
	gateway.ready()
	parts := []*part{site.part("enricher 1", "enrich"), site.part("enricher 2", "enrich"), site.part("router 1", "router"), site.part("router 2", "router")}
	for _, p := range parts {
		p.ready()
	}
	people := newCrowd(t, site)
	for range 2 {
		people.join(address, people.terminal)
		people.join(address, people.plain)
	}
	more := func(what string) {
		t.Helper()
		before := people.shown()
		start := time.Now()
		await(t, "for the people to see more after "+what, func() bool { return people.shown() > before+10000 })
		t.Logf("%s after %s people had seen more", time.Since(start).Round(100*time.Millisecond), what)
	}
	more("the start")
	cluster.killLeader(schema.StreamTTY)
	more("the death of TTY's leader")
	cluster.killLeader(schema.StreamLogs)
	more("the death of LOGS's leader")
	cluster.cut(t, people, false)
	more("a cut between the servers")
	cluster.cut(t, people, true)
	more("a cut of everything")
	people.awaitEnds(drains[0])

	gateway.stop()
	people.leave()
	all := people.seen()
	gateway.start() // it records the ends that could not be recorded while it stopped
	people.logSeen(all)
	for _, d := range drains {
		people.check(t, d, all, false, true)
	}
	parts = append(parts, gateway)
	for _, p := range parts {
		p.stop()
	}
	for _, p := range parts {
		said := p.said()
		t.Logf("%s: fenced off %d times, leases lost %d times", p.name,
			strings.Count(said, "another publisher has written"), strings.Count(said, "another process has taken over"))
	}
}
