package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// clientTLS returns the TLS configuration of a server's clients.
func clientTLS(s *bustest.Server) func() (*tls.Config, error) {
	return sinks.TLS{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile}.Config
}

// options returns the options of a user with an NKey.
func options(s *bustest.Server, user string, role Role) Options {
	return Options{URL: s.URL, NKeySeedFile: s.Seeds[user], TLS: clientTLS(s), Role: role, Partitions: 1}
}

// serve starts a server with a configuration file, and creates the streams.
func serve(t *testing.T, file string, change func(*bustest.Server, *server.Options)) *bustest.Server {
	t.Helper()
	s := bustest.Start(t, file, change)
	o := options(s, "admin", 0)
	if strings.Contains(file, "passwords") {
		o.NKeySeedFile, o.Username, o.Password = "", "admin", s.Passwords["admin"]
	}
	if _, err := Apply(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPermissions tries every operation as every user. The server permits it exactly to the listed
// users.
func TestPermissions(t *testing.T) {
	s := serve(t, "nats/nkeys.conf", nil)
	type try struct {
		subject string
		users   string // users who may publish to it
	}
	const nobody = ""
	tries := []try{
		// Writing.
		{"tty.0.default.web.1", "gateway"},
		{"logs.0.default.web.1", "enrich"},
		{"deadletter.siem.1.2", "router"},
		{"deadletter.siem.1.2.gap", "router"},
		{"$KV.gaps.siem.0.1", "router"},
		{"$KV.operations.default.web.x", "gateway"},
		{"$KV.sessions.1", "gateway"},
		{"$KV.slots.default.1", "gateway"},
		{"$KV.kills.1", "gateway enrich router"},
		{"$KV.leases.enrich.0", "enrich"},
		{"$KV.leases.drain.siem.0", "router"},
		{"$KV.positions.enrich.0", "enrich"},
		{"$KV.positions.drain.siem.0", "router"},
		{"$KV.controls.siem", "router"},
		{"$KV.states.siem.0", "router"},
		{"other", nobody},
		// Reading TTY.
		{"$JS.API.CONSUMER.CREATE.TTY.x.tty.0.*.*.*", "gateway enrich"},
		{"$JS.API.CONSUMER.CREATE.TTY.x", nobody},
		{"$JS.API.CONSUMER.CREATE.TTY", nobody},
		{"$JS.API.CONSUMER.DURABLE.CREATE.TTY.x", nobody},
		{"$JS.API.CONSUMER.MSG.NEXT.TTY.x", "gateway enrich"},
		{"$JS.API.CONSUMER.DELETE.TTY.x", "gateway enrich"},
		{"$JS.API.DIRECT.GET.TTY", "enrich"},
		{"$JS.API.DIRECT.GET.TTY.tty.0.default.web.1", "gateway enrich"},
		{"$JS.API.STREAM.MSG.GET.TTY", nobody},
		// Reading LOGS.
		{"$JS.API.CONSUMER.CREATE.LOGS.x.logs.0.*.*.*", "router"},
		{"$JS.API.CONSUMER.CREATE.LOGS.x", "router"},
		{"$JS.API.CONSUMER.DURABLE.CREATE.LOGS.x", nobody},
		{"$JS.API.CONSUMER.MSG.NEXT.LOGS.x", "router"},
		{"$JS.API.CONSUMER.DELETE.LOGS.x", "router"},
		{"$JS.API.DIRECT.GET.LOGS", "router"},
		{"$JS.API.DIRECT.GET.LOGS.logs.0.default.web.1", "enrich router"},
		{"$JS.API.STREAM.MSG.GET.LOGS", nobody},
		// Dead letters.
		{"$JS.API.CONSUMER.CREATE.DEADLETTER.x", nobody},
		{"$JS.API.CONSUMER.CREATE.DEADLETTER.x.deadletter.siem.>", "router"},
		{"$JS.API.CONSUMER.MSG.NEXT.DEADLETTER.x", nobody},
		{"$JS.API.DIRECT.GET.DEADLETTER", "router"},
		{"$JS.API.DIRECT.GET.DEADLETTER.deadletter.siem.1.2", "router"},
		{"$JS.API.STREAM.MSG.DELETE.DEADLETTER", "router"},
		{"$JS.API.STREAM.MSG.DELETE.TTY", nobody},
		{"$JS.API.STREAM.MSG.DELETE.LOGS", nobody},
		// Reading buckets.
		{"$JS.API.CONSUMER.CREATE.KV_sessions.x.$KV.sessions.>", "gateway enrich router"},
		{"$JS.API.CONSUMER.CREATE.KV_sessions.x.$KV.sessions.1", "gateway enrich router"},
		{"$JS.API.CONSUMER.CREATE.KV_slots.x.$KV.slots.>", "gateway enrich router"},
		{"$JS.API.CONSUMER.CREATE.KV_slots.x.$KV.slots.default.*", "gateway enrich router"},
		{"$JS.API.CONSUMER.CREATE.KV_kills.x.$KV.kills.>", "gateway"},
		{"$JS.API.CONSUMER.CREATE.KV_operations.x.$KV.operations.>", nobody},
		{"$JS.API.CONSUMER.CREATE.KV_leases.x.$KV.leases.enrich.0", "enrich"},
		{"$JS.API.CONSUMER.CREATE.KV_leases.x.$KV.leases.drain.siem.0", "router"},
		{"$JS.API.CONSUMER.CREATE.KV_leases.x.$KV.leases.>", nobody},
		{"$JS.API.CONSUMER.CREATE.KV_controls.x.$KV.controls.siem", "router"},
		{"$JS.API.CONSUMER.CREATE.KV_states.x.$KV.states.>", "router"},
		{"$JS.API.DIRECT.GET.KV_positions.$KV.positions.enrich.0", "enrich"},
		{"$JS.API.DIRECT.GET.KV_positions.$KV.positions.drain.siem.0", "router"},
		{"$JS.API.DIRECT.GET.KV_controls.$KV.controls.siem", "router"},
		{"$JS.API.CONSUMER.CREATE.KV_gaps.x.$KV.gaps.siem.0.*", "router"},
		{"$JS.API.CONSUMER.CREATE.KV_gaps.x.$KV.gaps.>", nobody},
		{"$JS.API.DIRECT.GET.KV_gaps.$KV.gaps.siem.0.1", "router"},
		{"$JS.API.DIRECT.GET.KV_sessions.$KV.sessions.1", nobody},
		{"$JS.API.DIRECT.GET.KV_slots.$KV.slots.default.1", "gateway"},
		{"$JS.API.DIRECT.GET.KV_kills.$KV.kills.1", nobody},
		// Flow control of a bucket's entries.
		{"$JS.FC.KV_sessions.x.y", "gateway enrich router"},
		{"$JS.FC.KV_slots.x.y", "gateway enrich router"},
		{"$JS.FC.KV_kills.x.y", "gateway"},
		{"$JS.FC.KV_leases.x.y", "enrich router"},
		{"$JS.FC.KV_controls.x.y", "router"},
		{"$JS.FC.KV_states.x.y", "router"},
		{"$JS.FC.KV_gaps.x.y", "router"},
		{"$JS.FC.TTY.x.y", nobody},
		{"$JS.FC.LOGS.x.y", nobody},
		{"$JS.ACK.TTY.x.1.1.1.1.1", nobody},
		{"$JS.ACK.LOGS.x.1.1.1.1.1", nobody},
		// Operations on the whole account or server.
		{"$JS.API.INFO", "gateway enrich router admin"},
		{"$JS.API.STREAM.LIST", nobody},
		{"$JS.API.STREAM.NAMES", nobody},
		{"$SYS.REQ.SERVER.PING", nobody},
		{"$JS.API.STREAM.INFO.other", nobody},
		{"$JS.API.STREAM.CREATE.other", nobody},
	}
	// Every existing stream and bucket. One that the file does not cover yet is detected here.
	all := make(map[string]Role)
	for _, b := range buckets {
		all["KV_"+b.config.Bucket] = b.roles
	}
	for _, s := range streams {
		all[s.name] = s.roles
	}
	for name, roles := range all {
		users := "admin"
		for _, role := range []Role{RoleGateway, RoleEnrich, RoleRouter} {
			if roles.has(role) {
				users += " " + role.String()
			}
		}
		tries = append(tries, try{"$JS.API.STREAM.INFO." + name, users}, try{"$JS.API.STREAM.CREATE." + name, "admin"}, try{"$JS.API.STREAM.UPDATE." + name, "admin"})
		for _, action := range []string{"STREAM.DELETE", "STREAM.PURGE", "STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.PEER.REMOVE", "STREAM.LEADER.STEPDOWN", "CONSUMER.NAMES", "CONSUMER.LIST"} {
			users := map[string]string{"STREAM.PURGE.TTY": "enrich", "STREAM.PURGE.LOGS": "router"}[action+"."+name]
			tries = append(tries, try{"$JS.API." + action + "." + name, users})
		}
	}
	subscribe := []try{
		{">", nobody}, {"tty.>", nobody}, {"logs.>", nobody}, {"deadletter.>", nobody}, {"$KV.>", nobody}, {"$JS.>", nobody}, {"_INBOX.>", nobody}, {"*.>", nobody},
		{"_INBOX_ttydrain_gateway.>", "gateway"}, {"_INBOX_ttydrain_enrich.>", "enrich"}, {"_INBOX_ttydrain_router.>", "router"}, {"_INBOX_ttydrain_admin.>", "admin"},
	}
	for _, user := range bustest.Users() {
		t.Run(user, func(t *testing.T) {
			conn := dial(t, s, user)
			refused := func(subject string) bool {
				t.Helper()
				if err := conn.FlushTimeout(time.Minute); err != nil {
					t.Fatal(err)
				}
				// The server responds in order: errors arrive before the response to the flush.
				err := conn.LastError()
				return err != nil && strings.Contains(err.Error(), strconv.Quote(subject))
			}
			for _, try := range tries {
				if err := conn.PublishMsg(&nats.Msg{Subject: try.subject, Reply: "nobody", Data: []byte("{}")}); err != nil {
					t.Fatal(err)
				}
				if may := slices.Contains(strings.Fields(try.users), user); refused(try.subject) == may {
					t.Errorf("publish to %s: allowed is %t", try.subject, !may)
				}
			}
			for _, try := range subscribe {
				sub, err := conn.SubscribeSync(try.subject)
				if err != nil {
					t.Fatal(err)
				}
				if may := slices.Contains(strings.Fields(try.users), user); refused(try.subject) == may {
					t.Errorf("subscribe to %s: allowed is %t", try.subject, !may)
				}
				_ = sub.Unsubscribe() // a refused request creates nothing that has to be removed
			}
		})
	}
}

// dial connects as a user.
func dial(t *testing.T, s *bustest.Server, user string) *nats.Conn {
	t.Helper()
	config, err := clientTLS(s)()
	if err != nil {
		t.Fatal(err)
	}
	key, err := readNKey(s.Seeds[user])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(s.URL, nats.Secure(config), key, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// TestRolesWork performs all operations of each role with its permissions, using users with
// passwords.
func TestRolesWork(t *testing.T) {
	t.Parallel()
	s := serve(t, "nats/passwords.conf", nil)
	as := func(role Role) *Bus {
		t.Helper()
		o := options(s, "", role)
		o.NKeySeedFile, o.Username, o.Password = "", role.String(), s.Passwords[role.String()]
		b, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	gateway, enricher, router := as(RoleGateway), as(RoleEnrich), as(RoleRouter)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	for _, b := range []*Bus{gateway, enricher, router} {
		must(b.Ready(ctx))
	}

	// A released lease is acquired in a different way from one that never had a holder.
	acquire := func(b *Bus, name string) *Lease {
		t.Helper()
		var lease *Lease
		for range 2 {
			if lease != nil {
				lease.Release()
			}
			var err error
			if lease, err = b.Acquire(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		return lease
	}

	op := newOperation()
	must(gateway.CreateOperation(ctx, op))
	subject := schema.SubjectTTY(op, gateway.Partitions())
	_, err := gateway.PublishChunk(subject, "1", []byte("chunk")).Wait(ctx)
	must(err)
	chunks := 0
	must(gateway.Tail(ctx, schema.StreamTTY, subject, func(Message) error { chunks++; return nil }))
	if chunks != 1 {
		t.Errorf("%d chunks are there", chunks)
	}
	// So many that listing them needs flow control.
	const sessions = 5000
	padding := strings.Repeat("x", 4<<10)
	for i := range sessions {
		must(gateway.SaveSession(ctx, &schema.Session{Operation: &schema.Operation{ID: strconv.Itoa(i), App: padding}}))
	}
	list, err := gateway.Sessions(ctx)
	if must(err); len(list) != sessions {
		t.Errorf("%d sessions", len(list))
	}

	slot := &schema.Slot{Stack: "default", Number: 1, Holder: "a"}
	for range 2 { // a released lease is acquired in a different way from one that never had a holder
		revision, err := gateway.CreateSlot(ctx, slot)
		must(err)
		if _, err := gateway.CreateSlot(ctx, slot); !errors.Is(err, ErrSlotTaken) {
			t.Errorf("a slot that is taken: %v", err)
		}
		revision, err = gateway.UpdateSlot(ctx, slot, revision)
		must(err)
		_, found, ok, err := gateway.FindSlot(ctx, "default", 1)
		if must(err); !ok || found != revision {
			t.Errorf("the slot has the revision %d, %t", found, ok)
		}
		must(gateway.DeleteSlot(ctx, slot, revision))
	}
	_, err = gateway.CreateSlot(ctx, slot)
	must(err)
	for _, b := range []*Bus{gateway, enricher, router} {
		for _, stack := range []string{"default", ""} {
			slots, err := b.Slots(ctx, stack)
			if must(err); len(slots) != 1 {
				t.Errorf("%d slots", len(slots))
			}
		}
		_, err := b.Session(ctx, "17")
		must(err)
		must(gateway.SaveSession(ctx, &schema.Session{Operation: &schema.Operation{ID: "ended"}, Ended: time.Now()}))
		_, err = b.AwaitEnd(ctx, "ended")
		must(err)
		must(b.RequestKill(ctx, &schema.Kill{Operation: "17", By: "ada"}))
		killing, stop := context.WithCancel(ctx)
		if err := gateway.WatchKills(killing, func(schema.Kill) { stop() }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		must(gateway.ForgetKill(ctx, "17"))
	}

	lease := acquire(enricher, "enrich.0")
	readOne(t, enricher, schema.StreamTTY, schema.FilterTTY(0))
	_, err = enricher.PublishSegment(schema.LogsOf(subject), 0, 1, false, []byte("segment")).Wait(ctx)
	must(err)
	_, _, err = enricher.Last(ctx, schema.StreamLogs, schema.LogsOf(subject))
	must(err)
	_, err = enricher.End(ctx, schema.StreamTTY)
	must(err)
	_, _, err = enricher.Next(ctx, schema.StreamTTY, schema.FilterTTY(0), 0)
	must(err)
	must(lease.Save(ctx, 1))
	lease.Release()

	lease = acquire(router, "drain.siem.0")
	readOne(t, router, schema.StreamLogs, schema.FilterLogs(0, "", ""))
	readOne(t, router, schema.StreamLogs, schema.FilterLogs(0, "default", "web"), schema.FilterLogs(0, "default", "api"))
	_, err = router.End(ctx, schema.StreamLogs)
	must(err)
	_, _, err = router.Next(ctx, schema.StreamLogs, schema.FilterLogs(0, "", ""), 0)
	must(err)
	_, err = router.BeforeTime(ctx, time.Now().Add(-time.Hour))
	must(err)
	_, err = router.BeforeOperation(ctx, op.ID)
	must(err)
	must(lease.Rewind(ctx, NextRewind(0)))
	lease.Release()
	watching, stop := context.WithCancel(ctx)
	must(router.ChangeDrainControl(ctx, "siem", func(c *schema.DrainControl) { c.Paused = true }))
	if err := router.WatchDrainControl(watching, "siem", func(schema.DrainControl) { stop() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(router.ChangeDrainControl(ctx, "siem", func(c *schema.DrainControl) { c.Paused = false }))
	must(router.SaveDrainState(ctx, &schema.DrainState{Drain: "siem"}))
	states, err := router.DrainStates(ctx)
	if must(err); len(states) != 1 {
		t.Errorf("%d states", len(states))
	}
	gaps := &GapNote{DrainGaps: schema.DrainGaps{Operation: op, Gaps: []schema.Gap{{First: 1, Last: 2}}}}
	must(router.SaveGaps(ctx, "siem", 0, gaps))
	_, ok, err := router.OperationGaps(ctx, "siem", 0, op.ID)
	if must(err); !ok {
		t.Error("the gap is not there")
	}
	all, err := router.Gaps(ctx, "siem", 0)
	if must(err); len(all) != 1 {
		t.Errorf("%d operations have gaps", len(all))
	}
	must(router.DeleteGaps(ctx, "siem", 0, gaps))
	_, _, err = router.First(ctx, schema.StreamLogs, []string{schema.FilterLogs(0, "", "")}, 0)
	must(err)
	_, err = router.Begin(ctx, schema.StreamLogs)
	must(err)
	_, _, err = router.Progress(ctx, "drain.siem.0")
	must(err)
	heads, err := router.ReadHeads(ctx, schema.StreamLogs, []string{schema.FilterLogs(0, "", "")}, 0)
	must(err)
	_, err = heads.Next(ctx)
	must(err)
	heads.Close()
	for range 2 { // the second finds the first
		must(router.PublishDeadLetter(ctx, &schema.DeadLetter{Drain: "siem", Operation: "1"}))
	}
	n, err := router.CountDeadLetters(ctx, "siem")
	if must(err); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	must(router.DeadLetters(ctx, "", 0, func(number uint64, _ *schema.DeadLetter) error { return router.DeleteDeadLetter(ctx, number) }))

	if refused := s.Refused(); len(refused) > 0 {
		t.Errorf("the server refused operations that ttydrain needs:\n%s", strings.Join(refused, "\n"))
	}
}

// readOne reads the first message that matches one of the filters.
func readOne(t *testing.T, b *Bus, stream string, filters ...string) {
	t.Helper()
	r, err := b.Read(t.Context(), stream, filters, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(t.Context()); err != nil {
		t.Error(err)
	}
}
