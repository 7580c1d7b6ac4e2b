package session

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/schema"
)

// governed opens the output of a user's session, on which wait can be called.
func governed(t testing.TB, g *governor, app App, user string) (o *output, ended func() error) {
	t.Helper()
	o, err := g.open(app, schema.User{ID: user})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var cause error
	o.end = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		cause = err
	}
	return o, func() error {
		mu.Lock()
		defer mu.Unlock()
		return cause
	}
}

// show writes n bytes of output in a session, and returns how long that took.
func (o *output) show(n int) time.Duration {
	began := time.Now()
	for left := n; left > 0; left -= frameBuffer {
		o.wait(nil, min(left, frameBuffer))
		o.passed(min(left, frameBuffer))
	}
	return time.Since(began)
}

// TestRates: output beyond a burst is delayed by the limit that is reached first, and small output
// is not delayed for the sake of others.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGovernor(nil, NewMetrics(prometheus.NewRegistry()))
		app := App{Stack: "default", Limits: Limits{
			Session: Limit{Rate: 1 << 20, Burst: 4 << 20}, User: Limit{Rate: 2 << 20, Burst: 10 << 20}, Stack: Limit{Rate: 3 << 20, Burst: 100 << 20},
		}}
		near := func(what string, took, want time.Duration) {
			t.Helper()
			if took < want-want/10 || took > want+want/10+minDelay {
				t.Errorf("%s took %s, expected about %s", what, took, want)
			}
		}
		one, _ := governed(t, g, app, "ada")
		near("a burst", one.show(4<<20), 0)
		near("10 MiB beyond it", one.show(10<<20), 10*time.Second)
		// By then the user's bucket is almost full again.
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		began := time.Now()
		for range 4 { // 4 MiB each at once, 16 MiB together, of which 10 are the user's burst
			o, _ := governed(t, g, app, "ada")
			all.Go(func() { o.show(4 << 20) })
		}
		other, _ := governed(t, g, app, "bob")
		near("another user's burst", other.show(4<<20), 0)
		all.Wait()
		near("six MiB beyond a user's burst", time.Since(began), 3*time.Second)
		// A session with little output is not affected by its user's other sessions.
		quiet, _ := governed(t, g, app, "ada")
		loud, _ := governed(t, g, app, "ada")
		loud.show(3 << 20)
		if took := quiet.show(1 << 10); took != 0 {
			t.Errorf("a prompt waited for %s", took)
		}
		// Changed limits apply to new sessions.
		app.Limits.Session = Limit{Rate: 16 << 10, Burst: 64 << 10}
		slow, _ := governed(t, g, app, "eve")
		near("96 KiB at a lower rate", slow.show(96<<10), 2*time.Second)
	})
}

// TestReserve: in the reserve, sessions with much output wait, and those with little do not. Below
// half of it the former are ended, one per second, the one with the most output first.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		room := Room{Free: 64 << 20, Reserve: 8 << 20}
		set := func(free uint64) {
			mu.Lock()
			room.Free = free
			mu.Unlock()
			time.Sleep(2 * maxRoomInterval) // until it is known
		}
		stage := newStage(t)
		m := NewManager(Options{Metrics: stage.metrics, Room: func(context.Context) (Room, error) {
			mu.Lock()
			defer mu.Unlock()
			return room, nil
		}})
		g := m.governor
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.Govern(ctx)
		app := App{Stack: "default"}
		over := make(chan struct{})
		var all sync.WaitGroup
		var ends []func() error
		loud := func(bytes int) {
			o, ended := governed(t, g, app, "ada")
			ends = append(ends, ended)
			for shown := 0; shown < bytes; shown += frameBuffer {
				if !o.wait(over, frameBuffer) {
					t.Error("output was delayed although there was space")
				}
				o.passed(frameBuffer)
			}
			all.Go(func() {
				for o.wait(over, frameBuffer) {
					time.Sleep(time.Millisecond)
					o.passed(frameBuffer)
				}
			})
		}
		count := func() (n int) {
			for _, ended := range ends {
				if ended() != nil {
					n++
				}
			}
			return n
		}
		quiet, quietEnded := governed(t, g, app, "bob")
		set(6 << 20)
		loud(0)
		set(64 << 20)
		loud(1 << 20)
		set(6 << 20)
		time.Sleep(time.Minute)
		if n := count(); n != 0 {
			t.Fatalf("%d sessions were ended in the first half of the reserve", n)
		}
		set(3 << 20)
		for range 2000 { // keystrokes
			if took := quiet.show(20); took != 0 {
				t.Fatalf("a prompt waited for %s", took)
			}
			time.Sleep(50 * time.Millisecond)
		}
		all.Wait()
		for i, ended := range ends {
			if !errors.Is(ended(), errNoRoom) {
				t.Errorf("session %d was ended for %v", i, ended())
			}
		}
		if quietEnded() != nil {
			t.Errorf("a session with little output was ended: %v", quietEnded())
		}
		set(64 << 20)
		fresh, freshEnded := governed(t, g, app, "ada")
		if took := fresh.show(4 << 20); took > time.Second || freshEnded() != nil {
			t.Errorf("with free space again, 4 MiB took %s, %v", took, freshEnded())
		}
		if reason(errNoRoom) != ReasonNoRoom {
			t.Errorf("the reason is %q", reason(errNoRoom))
		}
	})
}

// TestReserveBetweenChecks: output admitted between two checks of the free space counts.
func TestReserveBetweenChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGovernor(func(context.Context) (Room, error) { return Room{Free: 9 << 20, Reserve: 8 << 20}, nil }, NewMetrics(prometheus.NewRegistry()))
		g.checkRoom(t.Context())
		o, _ := governed(t, g, App{}, "ada")
		if took := o.show(1 << 20); took != 0 {
			t.Errorf("output before the reserve waited for %s", took)
		}
		if took := o.show(256 << 10); took < 5*time.Second {
			t.Errorf("output within the reserve took %s", took)
		}
	})
}

// TestLastQuarter checks that sessions with much output, which are about to be ended, leave most of
// the last quarter of the reserve to the others.
func TestLastQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const free = 2<<20 - 1
		g := newGovernor(func(context.Context) (Room, error) { return Room{Free: free, Reserve: 8 << 20}, nil }, NewMetrics(prometheus.NewRegistry()))
		g.checkRoom(t.Context())
		over := make(chan struct{})
		var loud sync.WaitGroup
		for range 16 {
			o, _ := governed(t, g, App{}, "ada")
			loud.Go(func() {
				for o.wait(over, 4<<10) {
				}
			})
		}
		quiet, ended := governed(t, g, App{}, "bob")
		for range 30 * 10 { // longer than it takes to end 16 sessions
			if took := quiet.show(20); took != 0 {
				t.Fatalf("a prompt waited for %s", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if used := g.admitted.Load(); used > free/2 {
			t.Errorf("%d of %d bytes of the last quarter were used", used, free)
		}
		if ended() != nil {
			t.Errorf("a session with little output was ended: %v", ended())
		}
		close(over)
		loud.Wait()
	})
}

// TestQuotas: a session is ended when it, its user or its stack has reached its quota, and no new
// one starts before a day has passed.
func TestQuotas(t *testing.T) {
	for _, test := range []struct {
		name     string
		limits   Limits
		shown    int // of the previous session
		sentence string
		refused  string // of the next one
	}{
		{"session", Limits{Session: Limit{Bytes: 1 << 20}}, 1 << 20, "it has shown as much as a session may (1 MiB)", ""},
		{"user", Limits{User: Limit{Bytes: 3 << 19}}, 1 << 20, "your sessions on the stack default have shown as much within a day as they may (1.5 MiB)", "your sessions on the stack default have shown as much"},
		{"stack", Limits{Stack: Limit{Bytes: 3 << 19}}, 1 << 20, "the sessions on the stack default have shown as much within a day", "the sessions on the stack default have shown as much"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGovernor(nil, NewMetrics(prometheus.NewRegistry()))
				app := App{Stack: "default", Limits: test.limits}
				before, ended := governed(t, g, app, "ada")
				if before.show(test.shown); ended() != nil {
					t.Fatalf("a session was ended too early: %v", ended())
				}
				before.close()
				time.Sleep(30 * time.Minute)
				o, ended := governed(t, g, app, "ada")
				o.show(1<<20 + 1)
				cause, ok := errors.AsType[*outputLimit](ended())
				if !ok || !strings.HasPrefix(cause.sentence, "this session was ended: "+test.sentence) || reason(cause) != ReasonOutput {
					t.Fatalf("ended for %v", ended())
				}
				if o.wait(nil, 1) {
					t.Error("output after the end is admitted")
				}
				o.close()
				_, err := g.open(app, schema.User{ID: "ada"})
				refusal, refused := errors.AsType[*Refusal](err)
				if refused != (test.refused != "") || refused && !strings.HasPrefix(refusal.Message, test.refused) {
					t.Errorf("the next session: %v", err)
				}
				_, err = g.open(app, schema.User{ID: "bob"})
				if refused := err != nil; refused != (test.name == "stack") {
					t.Errorf("another user's session: %v", err)
				}
				time.Sleep(25 * time.Hour)
				if _, err := g.open(app, schema.User{ID: "ada"}); err != nil {
					t.Errorf("a session on the next day: %v", err)
				}
			})
		})
	}
}

// TestAccountsAreSwept: nothing is kept about users whose sessions ended long ago.
func TestAccountsAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGovernor(nil, NewMetrics(prometheus.NewRegistry()))
		app := App{Stack: "default", Limits: Limits{}.WithDefaults(20 << 30)}
		app.Limits.User.Bytes = 1 << 30
		for _, user := range []string{"ada", "bob", "eve"} {
			o, _ := governed(t, g, app, user)
			o.show(1 << 20)
			o.close()
		}
		time.Sleep(25 * time.Hour)
		o, _ := governed(t, g, app, "dan")
		defer o.close()
		if n := len(g.accounts); n != 2 {
			t.Errorf("%d accounts, expected those of one user and the stack", n)
		}
	})
}

func TestDefaultLimits(t *testing.T) {
	if l := (Limits{}).WithDefaults(0); l != (Limits{}) {
		t.Errorf("without a known capacity: %+v", l)
	}
	l := Limits{Session: Limit{Rate: 1 << 30}}.WithDefaults(18 << 30)
	want := Limits{Session: Limit{1 << 30, 576 << 20, 0}, User: Limit{20 << 20, 1152 << 20, 0}, Stack: Limit{40 << 20, 2304 << 20, 0}}
	want.User.Rate, want.Stack.Rate = 2*(18<<30/1800), 4*(18<<30/1800)
	if l != want {
		t.Errorf("for 18 GiB: %+v, expected %+v", l, want)
	}
	if l := (Limits{}).WithDefaults(64 << 20); l.Session != (Limit{minRate, minBurst, 0}) {
		t.Errorf("for the smallest store: %+v", l)
	}
}

// TestSessionEndsForLackOfSpace: a session that is ended for lack of space records its end and the
// message, and no later output.
func TestSessionEndsForLackOfSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.program = func(p *program) Exit {
			line := make([]byte, 4<<10)
			for {
				select {
				case <-p.killed:
					p.stdout.Write(line) // in its pipe
					return Exit{Status: 137, Signal: "KILL"}
				default:
					p.stdout.Write(line)
				}
			}
		}
		m := s.manager()
		m.governor.left = Room{Free: 2 << 20, Reserve: 8 << 20}
		exit, err := m.Run(t.Context(), s.req, IO{Stdin: s.stdin, Stdout: s.out, Stderr: s.err, Resize: s.resize, Signals: s.signals})
		if err != nil || exit.Reason != ReasonNoRoom {
			t.Fatalf("%+v, %v", exit, err)
		}
		shown := s.out.text()
		if !strings.HasSuffix(shown, "\r\nttydrain: "+noRoomSentence+"\r\n") || len(shown) > smallBurst+5*smallRate {
			t.Errorf("%d bytes shown, the last of which are %q", len(shown), shown[max(0, len(shown)-200):])
		}
		if string(s.tape.recorded(schema.Stdout)) != shown {
			t.Error("what was shown is not what was recorded")
		}
	})
}
