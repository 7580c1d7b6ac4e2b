package e2e

import (
	"flag"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks/porttest"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

var (
	kills    = flag.Int("kills", 20, "how many times TestKills kills each kind of part")
	killSeed = flag.Uint64("kill-seed", 0, "what decides when TestKills kills what; 0 for something new")
)

// killEvery is the mean time between two kills of parts of one kind.
const killEvery = 7 * time.Second

// TestKills kills the gateways, the enrichers, the routers and the NATS server, each kind on its
// own, at random moments while users work, and compares every byte that they have seen with the
// records of the drains in the end.
func TestKills(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	elastic := elasticsearchDrain(t, "search") // before anything is started, so that missing servers are reported first
	drains := []*destination{
		httpsDrain(t, "ndjson", ", format: ndjson"),
		httpsDrain(t, "json", ""),
		syslogDrain(t, "rsyslog", syslogtest.StartRsyslog(t, syslogtest.Options{RequireClientCert: true}), true),
		elastic,
	}
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-kill-seed %d", seed)

	address := porttest.Reserve(t)
	nats := startPart(t, "the NATS server", natsProgram(t), "-c", natsConfig(t, address, ""))
	addresses := []string{porttest.Reserve(t), porttest.Reserve(t)}
	var sites []*site
	for _, a := range addresses {
		if len(sites) == 0 {
			s := newSite(t, withoutRaces, withListen(a), entries(drains))
			s.onNATS(1, address)
			s.forACrowd()
			sites = append(sites, s)
			continue
		}
		sites = append(sites, sites[0].listening(addresses[0], a))
	}
	site := sites[0]
	kinds := []struct {
		name  string
		parts []*part
	}{
		{"gateway", []*part{sites[0].part("gateway 1", "gateway"), sites[1].part("gateway 2", "gateway")}},
		{"enricher", []*part{site.part("enricher 1", "enrich"), site.part("enricher 2", "enrich")}},
		{"router", []*part{site.part("router 1", "router"), site.part("router 2", "router")}},
		{"nats", []*part{nats}},
	}
	for _, k := range kinds[:3] {
		for _, p := range k.parts {
			p.ready()
		}
	}

	people := newCrowd(t, site)
	for _, a := range addresses {
		people.join(a, people.terminal)
		people.join(a, people.plain)
		people.join(a, people.openSSH)
	}
	await(t, "for the people to have seen something", func() bool { return people.shown() > 10000 })
	start := time.Now()
	var killing sync.WaitGroup
	for i, k := range kinds {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		killing.Go(func() { // ends after so many kills
			for range *kills {
				select {
				case <-time.After(time.Duration(rng.Int64N(int64(2 * killEvery)))):
				case <-t.Context().Done():
					return
				}
				k.parts[rng.IntN(len(k.parts))].kill()
			}
		})
	}
	killing.Wait()
	t.Logf("%d kills of each kind took %s", *kills, time.Since(start).Round(time.Second))

	// Everything recovers by itself.
	for _, k := range kinds[:3] {
		for _, p := range k.parts {
			p.ready()
		}
	}
	before := people.shown()
	await(t, "for the people to see more after the last kill", func() bool { return people.shown() > before+10000 })
	people.awaitEnds(drains[0])
	for _, p := range kinds[0].parts {
		p.stop()
	}
	people.leave()
	all := people.seen()
	people.logSeen(all)
	if len(all) < len(addresses)*3 {
		t.Fatalf("only %d sessions have begun", len(all))
	}
	for _, d := range drains {
		people.check(t, d, all, d == elastic, false)
	}
	for _, k := range kinds[1:] {
		for _, p := range k.parts {
			p.stop()
			said := p.said()
			t.Logf("%s: fenced off %d times, leases lost %d times", p.name,
				strings.Count(said, "another publisher has written"), strings.Count(said, "another process has taken over"))
		}
	}
}

// listening returns the site with the gateway at another address.
func (s *site) listening(before, address string) *site {
	s.t.Helper()
	other := *s
	other.config = strings.TrimSuffix(s.config, ".yaml") + "-other.yaml"
	s.write(other.config, strings.Replace(s.text(), before, address, 1))
	return &other
}
