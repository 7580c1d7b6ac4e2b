package bus

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// startCluster starts three NATS servers with JetStream, and returns their URLs.
func startCluster(t *testing.T) (servers []*server.Server, urls string) {
	t.Helper()
	// A server of a cluster does not start until it knows the others.
	var ports []int
	var routes []*url.URL
	for range 3 {
		address := porttest.Reserve(t)
		ports = append(ports, int(netip.MustParseAddrPort(address).Port()))
		routes = append(routes, &url.URL{Scheme: "nats", Host: address})
	}
	var all []string
	for i := range 3 {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("server-%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 256 << 20, JetStreamMaxMemory: 64 << 20,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		go s.Start() // ended by Shutdown
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatal("a server did not start")
		}
		all = append(all, s.ClientURL())
	}
	waittest.Until(t, "the cluster has a leader that knows all three", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	})
	return servers, strings.Join(all, ",")
}

func TestCluster(t *testing.T) {
	servers, urls := startCluster(t)
	// Two processes that start simultaneously create the same streams.
	buses := make([]*Bus, 2)
	var wg sync.WaitGroup
	for i := range buses {
		wg.Go(func() {
			b, err := Open(t.Context(), Options{URL: urls, Replicas: 3, Partitions: 2})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(b.Close)
			buses[i] = b
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	a, b := buses[0], buses[1]
	if a.embedded != nil || a.Partitions() != 2 || b.Partitions() != 2 {
		t.Errorf("partitions %d and %d", a.Partitions(), b.Partitions())
	}
	info, err := a.streams[schema.StreamTTY].Info(t.Context())
	if err != nil || info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
		t.Fatalf("%+v, %v", info, err)
	}

	// IDs are unique across both.
	ids := make([]map[uint64]bool, 2)
	for i := range buses {
		ids[i] = make(map[uint64]bool)
		wg.Go(func() {
			for range 50 {
				ids[i][createOperation(t, buses[i])] = true
			}
		})
	}
	wg.Wait()
	for id := range ids[0] {
		if ids[1][id] {
			t.Fatalf("the ID %d was assigned twice", id)
		}
	}
	if len(ids[0])+len(ids[1]) != 100 {
		t.Errorf("%d and %d IDs", len(ids[0]), len(ids[1]))
	}

	checkFences(t, a, 0)

	// A lease has one holder, and is available to others after its end.
	first := acquire(t, a, "work")
	if err := first.Save(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	taken := make(chan *Lease)
	go func() { // ends when first is released
		l, err := b.Acquire(t.Context(), "work")
		if err != nil {
			t.Error(err)
		}
		taken <- l
	}()
	first.Release()
	second := <-taken
	if second == nil {
		t.FailNow()
	}
	if second.Position() != 3 {
		t.Errorf("position %d", second.Position())
	}

	// A server stops: acknowledged messages are kept, and publishing and reading continue.
	r, err := b.Read(t.Context(), schema.StreamTTY, []string{schema.FilterTTY(-1)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	const n = 200
	for i := range n {
		if i == n/2 {
			for _, s := range servers {
				if s.Name() == info.Cluster.Leader {
					s.Shutdown()
				}
			}
		}
		// Repeated with its ID until it is stored, like the capture does.
		waittest.Until(t, "chunk "+strconv.Itoa(i)+" is stored", func() bool {
			_, err := a.PublishChunk("tty.0.default.web.1", "1-"+strconv.Itoa(i), []byte(strconv.Itoa(i))).Wait(t.Context())
			return err == nil
		})
	}
	for i := range n {
		if m := next(t, r); string(m.Data) != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, m.Data)
		}
	}
	if err := second.Save(t.Context(), 4); err != nil {
		t.Logf("the position was not saved while the cluster chose a new leader: %v", err)
	}
	second.Release()
}

// TestRetentionOnACluster: several processes change it simultaneously, and the streams keep their
// replicas.
func TestRetentionOnACluster(t *testing.T) {
	_, urls := startCluster(t)
	for _, keep := range []time.Duration{time.Hour, time.Minute} {
		var opening sync.WaitGroup
		var buses [3]*Bus
		for i := range buses {
			opening.Go(func() {
				b, err := Open(t.Context(), Options{URL: urls, Replicas: 3, Partitions: 3, Retention: keep})
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(b.Close)
				buses[i] = b
			})
		}
		opening.Wait()
		if t.Failed() {
			return
		}
		mustKeep(t, buses[0], keep)
		for _, name := range allStreams {
			info, err := buses[0].streams[name].Info(t.Context())
			if err != nil || info.Config.Replicas != 3 {
				t.Errorf("the stream %s has %d replicas, %v", name, info.Config.Replicas, err)
			}
		}
	}
}
