package bus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestConsumersWithoutLimit creates more consumers than NATS allows per stream by default, on the
// embedded server and on one with the configuration for operators.
func TestConsumersWithoutLimit(t *testing.T) {
	b := openSynced(t)
	s := serve(t, "nats/nkeys.conf", func(_ *bustest.Server, o *server.Options) {
		if !o.SyncAlways {
			t.Error("the configuration for operators does not sync each message")
		}
	})
	router, err := Open(t.Context(), options(s, "router", RoleRouter))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(router.Close)
	for i, b := range []*Bus{b, router} {
		for n := range serverMaxConsumers + 10 {
			if _, err := b.js.CreateConsumer(t.Context(), schema.StreamLogs, jetstream.ConsumerConfig{
				Name: fmt.Sprintf("c%d", n), FilterSubject: "logs.0.*.*.*", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
			}); err != nil {
				t.Fatalf("bus %d, consumer %d: %v", i, n, err)
			}
		}
	}
}

// TestTemporaryConsumers: no consumers are left after single queries.
func TestTemporaryConsumers(t *testing.T) {
	b := openSynced(t)
	if _, err := b.BeforeTime(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Count(t.Context(), schema.StreamLogs, []string{"logs.0.*.*.*"}, 0); err != nil {
		t.Fatal(err)
	}
	reader, err := b.ReadHeads(t.Context(), schema.StreamLogs, []string{"logs.0.*.*.*"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	info, err := b.streams[schema.StreamLogs].Info(t.Context())
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left: %v", info.State.Consumers, err)
	}
}

// TestBeforeTimeAtLimit allows LOGS one consumer: BeforeTime does not need a second one, and
// returns an error if another process has it.
func TestBeforeTimeAtLimit(t *testing.T) {
	b := openSynced(t)
	for i := range 3 {
		subject := fmt.Sprintf("logs.0.default.web.%d", i)
		if _, err := b.PublishSegment(subject, 0, 1, false, []byte("x")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	config := b.streams[schema.StreamLogs].CachedInfo().Config
	config.MaxConsumers = 1
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	const prefix = "$JS.EVENT.ADVISORY.CONSUMER.CREATED." + schema.StreamLogs + "."
	advisories, err := b.conn.SubscribeSync(prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	if sequence, err := b.BeforeTime(t.Context(), time.Now().Add(-time.Hour)); err != nil || sequence != 0 {
		t.Errorf("before the first message: %d, %v", sequence, err)
	}
	if sequence, err := b.BeforeTime(t.Context(), time.Now().Add(time.Hour)); err != nil || sequence != 3 {
		t.Errorf("after the last message: %d, %v", sequence, err)
	}
	reader, err := b.Read(t.Context(), schema.StreamLogs, []string{schema.FilterLogs(0, "", "")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	last := prefix + reader.consumer.CachedInfo().Name
	for created := 1; ; created++ {
		m, err := advisories.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == last {
			if created != 3 {
				t.Errorf("%d consumers were created, expected one for each call and the reader's", created)
			}
			break
		}
	}
	if _, err := b.BeforeTime(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "maximum consumers") {
		t.Errorf("with another consumer there: %v", err)
	}
}

func TestCountConsumers(t *testing.T) {
	s := serve(t, "nats/nkeys.conf", nil)
	for _, user := range []string{"enrich", "router", "admin"} {
		o := options(s, user, 0)
		o.Partitions = 8 // the streams of that server have one
		got, err := CountConsumers(t.Context(), o, 63)
		if want := (Consumers{Drains: 63, Partitions: 1, Needed: 126, Limit: serverMaxConsumers}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", user, got, err, want)
		}
	}
	// A gateway may not read the configuration of LOGS.
	o := options(s, "gateway", 0)
	o.Partitions = 8
	if got, err := CountConsumers(t.Context(), o, 63); err == nil || got.Needed != 1008 {
		t.Errorf("gateway: %+v, %v", got, err)
	}
	c := Consumers{Partitions: 8}
	c.limit(&jetstream.StreamConfig{MaxConsumers: 50, Metadata: map[string]string{partitionsKey: "4"}},
		&jetstream.AccountInfo{Tier: jetstream.Tier{Limits: jetstream.AccountLimits{MaxConsumers: 100}}})
	if c.Limit != 50 || !c.Configured || c.Partitions != 4 {
		t.Errorf("with limits: %+v", c)
	}
}
