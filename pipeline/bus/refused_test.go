package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/schema"
)

// without removes permissions from the user of a role.
func without(user string, subjects ...string) func(*bustest.Server, *server.Options) {
	return func(s *bustest.Server, _ *server.Options) {
		p := s.Permissions[user].Publish
		p.Allow = slices.DeleteFunc(p.Allow, func(s string) bool { return slices.Contains(subjects, s) })
	}
}

// TestRefused: every refusal by the server is an error that names the subject and the role.
func TestRefused(t *testing.T) {
	next := func(ctx context.Context, b *Bus) error {
		r, err := b.Read(ctx, schema.StreamTTY, []string{schema.FilterTTY(0)}, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.Next(ctx)
		return err
	}
	for name, test := range map[string]struct {
		user    string
		role    Role
		without string // the permission that is removed; "" for none
		do      func(context.Context, *Bus) error
		subject string // the subject that is refused
	}{
		"publish": {"enrich", RoleEnrich, "logs.*.*.*.*", func(ctx context.Context, b *Bus) error {
			_, err := b.PublishSegment("logs.0.default.web.1", 0, 1, false, nil).Wait(ctx)
			return err
		}, "logs.0.default.web.1"},
		"operation": {"gateway", RoleGateway, "$KV.operations.*.*.*",
			func(ctx context.Context, b *Bus) error { return b.CreateOperation(ctx, newOperation()) }, "$KV.operations.default.web."},
		"list": {"gateway", RoleGateway, "$JS.API.CONSUMER.CREATE.KV_sessions.*.$KV.sessions.>",
			func(ctx context.Context, b *Bus) error { _, err := b.Sessions(ctx); return err }, "$JS.API.CONSUMER.CREATE.KV_sessions."},
		"last": {"gateway", RoleGateway, "$JS.API.DIRECT.GET.TTY.tty.*.*.*.*", func(ctx context.Context, b *Bus) error {
			_, _, err := b.Last(ctx, schema.StreamTTY, "tty.0.default.web.1")
			return err
		}, "$JS.API.DIRECT.GET.TTY.tty.0.default.web.1"},
		"read": {"enrich", RoleEnrich, "$JS.API.CONSUMER.CREATE.TTY.*.tty.*.*.*.*", next, "$JS.API.CONSUMER.CREATE.TTY."},
		"next": {"enrich", RoleEnrich, "$JS.API.CONSUMER.MSG.NEXT.TTY.*", next, "$JS.API.CONSUMER.MSG.NEXT.TTY."},
		"lease": {"enrich", RoleEnrich, "$KV.leases.enrich.*",
			func(ctx context.Context, b *Bus) error { _, err := b.Acquire(ctx, "enrich.0"); return err }, "$KV.leases.enrich."},
		"position": {"router", RoleRouter, "$JS.API.DIRECT.GET.KV_positions.$KV.positions.drain.*.*",
			func(ctx context.Context, b *Bus) error { _, err := b.Acquire(ctx, "drain.siem.0"); return err }, "$JS.API.DIRECT.GET.KV_positions.$KV.positions.drain.siem.0"},
		"discard": {"router", RoleRouter, "$JS.API.STREAM.MSG.DELETE.DEADLETTER", func(ctx context.Context, b *Bus) error {
			if err := b.PublishDeadLetter(ctx, &schema.DeadLetter{Drain: "siem"}); err != nil {
				return err
			}
			return b.DeleteDeadLetter(ctx, 1)
		}, "$JS.API.STREAM.MSG.DELETE.DEADLETTER"},
		"ready": {"router", RoleRouter, "$JS.API.INFO", func(ctx context.Context, b *Bus) error { return b.Ready(ctx) }, "$JS.API.INFO"},
		"start": {"router", RoleRouter, "$JS.API.STREAM.INFO.KV_states", nil, "$JS.API.STREAM.INFO.KV_states"},
		// The gateway's user for the work of the enricher.
		"another's": {"gateway", RoleEnrich, "", nil, "_INBOX_ttydrain_enrich."},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "nats/nkeys.conf", without(test.user, test.without))
			b, err := Open(t.Context(), options(s, test.user, test.role))
			if err == nil {
				defer b.Close()
				if test.do == nil {
					t.Fatal("it started")
				}
				err = test.do(t.Context(), b)
			}
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok {
				t.Fatalf("%v", err)
			}
			if !strings.HasPrefix(refused.Subject, test.subject) || refused.Role != test.role.String() {
				t.Errorf("%+v", refused)
			}
			if !strings.Contains(err.Error(), test.subject) || !strings.Contains(err.Error(), "role "+refused.Role) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestRefusalOfConcurrentRequest: the refusal of one request does not affect the others.
func TestRefusalOfConcurrentRequest(t *testing.T) {
	s := serve(t, "nats/nkeys.conf", nil)
	b, err := Open(t.Context(), options(s, "enrich", RoleEnrich))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := b.Read(t.Context(), schema.StreamTTY, []string{schema.FilterTTY(0)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	segment := b.PublishSegment("logs.0.default.web.1", 0, 1, false, nil)
	if _, err := b.PublishChunk("tty.0.default.web.1", "1", nil).Wait(t.Context()); !errors.As(err, new(*RefusedError)) {
		t.Errorf("the enricher wrote to TTY: %v", err)
	}
	if err := b.streams[schema.StreamTTY].DeleteMsg(t.Context(), 1); !errors.As(err, new(*RefusedError)) {
		t.Errorf("the enricher deleted from TTY: %v", err)
	}
	if _, err := segment.Wait(t.Context()); err != nil {
		t.Errorf("another publish: %v", err)
	}
	dial(t, s, "gateway").Publish("tty.0.default.web.2", []byte("chunk"))
	if m, err := r.Next(t.Context()); err != nil || m.Subject != "tty.0.default.web.2" {
		t.Errorf("a reader beside: %+v, %v", m, err)
	}
}

func TestNoStreams(t *testing.T) {
	s := bustest.Start(t, "nats/nkeys.conf", nil)
	_, err := Open(t.Context(), options(s, "gateway", RoleGateway))
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Subject != "$JS.API.STREAM.CREATE.TTY" || !strings.Contains(err.Error(), "streams apply") {
		t.Fatalf("%v", err)
	}
}

func TestApply(t *testing.T) {
	s := bustest.Start(t, "nats/nkeys.conf", nil)
	results := func() (found []string) {
		t.Helper()
		done, err := Apply(t.Context(), options(s, "admin", 0))
		if err != nil {
			t.Fatal(err)
		}
		if len(done) != len(streams)+len(buckets) {
			t.Errorf("%d of %d", len(done), len(streams)+len(buckets))
		}
		for _, a := range done {
			if a.Result != "unchanged" {
				found = append(found, a.Name+" "+a.Result)
			}
		}
		return found
	}
	if n := len(results()); n != len(streams)+len(buckets) {
		t.Errorf("%d were made", n)
	}
	if again := results(); again != nil {
		t.Errorf("again: %q", again)
	}
	// Somebody else changes one.
	b := &Bus{over: make(chan struct{})}
	defer b.Close()
	o := options(s, "admin", roleAdmin)
	o.Log = slog.New(slog.DiscardHandler)
	if err := b.connect(t.Context(), &o); err != nil {
		t.Fatal(err)
	}
	config, err := b.configOf(t.Context(), schema.StreamLogs)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxAge /= 2
	if _, err := b.js.UpdateStream(t.Context(), *config); err != nil {
		t.Fatal(err)
	}
	if got := results(); !slices.Equal(got, []string{"LOGS updated"}) {
		t.Errorf("after a change: %q", got)
	}
	if again := results(); again != nil {
		t.Errorf("again: %q", again)
	}
	if _, err := Apply(t.Context(), options(s, "router", 0)); !errors.As(err, new(*RefusedError)) || !strings.Contains(err.Error(), "role admin") {
		t.Errorf("the router made streams: %v", err)
	}
}
