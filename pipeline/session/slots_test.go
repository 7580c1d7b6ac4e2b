package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// slotLife is how long the table keeps a slot without renewal: as long as the bucket on NATS.
const slotLife = bus.SlotTTL

// A slotTable holds the slots of all gateways in memory.
type slotTable struct {
	t *testing.T

	mu       sync.Mutex
	down     bool                // guarded by mu: requests fail
	deaf     bool                // guarded by mu: requests take effect, but their responses are lost
	held     map[string]heldSlot // guarded by mu: by stack and number
	revision uint64              // guarded by mu
	most     int                 // guarded by mu: the maximum that was held at a time
}

type heldSlot struct {
	schema.Slot
	revision uint64
	renewed  time.Time
}

func newSlotTable(t *testing.T) *slotTable { return &slotTable{t: t, held: make(map[string]heldSlot)} }

var errDown = errors.New("the test has cut the network")

func slotName(stack string, number int) string { return fmt.Sprint(stack, " ", number) }

// lapse removes slots that were not renewed. mu is held.
func (s *slotTable) lapse() error {
	for name, h := range s.held {
		if time.Since(h.renewed) >= slotLife {
			delete(s.held, name)
		}
	}
	if s.down {
		return errDown
	}
	return nil
}

func (s *slotTable) Slots(_ context.Context, stack string) (list []schema.Slot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.lapse(); err != nil {
		return nil, err
	}
	for _, h := range s.held {
		if stack == "" || h.Stack == stack {
			list = append(list, h.Slot)
		}
	}
	return list, nil
}

func (s *slotTable) CreateSlot(_ context.Context, slot *schema.Slot) (uint64, error) {
	return s.put(slot, func(_ heldSlot, ok bool) bool { return !ok })
}

func (s *slotTable) UpdateSlot(_ context.Context, slot *schema.Slot, last uint64) (uint64, error) {
	return s.put(slot, func(h heldSlot, ok bool) bool { return ok && h.revision == last })
}

func (s *slotTable) put(slot *schema.Slot, may func(heldSlot, bool) bool) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.lapse(); err != nil {
		return 0, err
	}
	name := slotName(slot.Stack, slot.Number)
	if h, ok := s.held[name]; !may(h, ok) {
		return 0, fmt.Errorf("in the test: %w", ErrSlotTaken)
	}
	s.revision++
	s.held[name] = heldSlot{*slot, s.revision, time.Now()}
	s.most = max(s.most, len(s.held))
	if s.deaf {
		return 0, errDown
	}
	return s.revision, nil
}

func (s *slotTable) DeleteSlot(_ context.Context, slot *schema.Slot, last uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.lapse(); err != nil {
		return err
	}
	name := slotName(slot.Stack, slot.Number)
	if h, ok := s.held[name]; !ok || h.revision != last {
		return ErrSlotTaken
	}
	delete(s.held, name)
	return nil
}

func (s *slotTable) FindSlot(_ context.Context, stack string, number int) (schema.Slot, uint64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.lapse()
	h, ok := s.held[slotName(stack, number)]
	return h.Slot, h.revision, ok, err
}

// numbers returns the held slots.
func (s *slotTable) numbers() (list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.lapse()
	for n := 1; n < 100; n++ {
		if _, ok := s.held[slotName("default", n)]; ok {
			list = append(list, n)
		}
	}
	return list
}

func (s *slotTable) set(down, deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.deaf = down, deaf
}

// A running test session, whose program runs until it is ended.
type testSession struct {
	stage *stage
	end   context.CancelCauseFunc
	done  chan struct{}
	exit  Exit
	err   error
}

// open starts a session on a separate gateway that shares a table.
func open(t *testing.T, table *slotTable, limit int) *testSession {
	s := newStage(t)
	s.slots, s.app.Sessions, s.program, s.app.Duration = table, limit, until, SessionDurationLimit
	r := &testSession{stage: s, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.end = context.WithCancelCause(t.Context())
	go func() { // ends with the session
		defer close(r.done)
		r.exit, r.err = s.run(ctx)
	}()
	return r
}

func (r *testSession) runs() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

func (r *testSession) stop() {
	r.end(ErrDisconnected)
	<-r.done
}

// TestOneSlot: of ten sessions that start simultaneously on a stack that may have one, one starts.
// The others are refused with its ID.
func TestOneSlot(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := newSlotTable(t)
				var sessions []*testSession
				for range 10 {
					sessions = append(sessions, open(t, table, limit))
				}
				synctest.Wait()
				running := 0
				for _, r := range sessions {
					if r.runs() {
						running++
						defer r.stop()
						continue
					}
					if _, ok := errors.AsType[*Refusal](r.err); !ok {
						t.Errorf("not refused: %v", r.err)
					}
				}
				if running != limit || table.most != limit {
					t.Errorf("%d sessions run, at most %d slots were held; expected %d", running, table.most, limit)
				}
				late := open(t, table, limit)
				<-late.done
				says := fmt.Sprint(late.err)
				for _, want := range []string{"the stack default may have", "(plan growth)", "operation 7: Ada <ada@example.com> on web, since 1 January 2000 at 00:00:00 UTC",
					`"ttydrain sessions kill 7"`, "Wait", "a larger plan"} {
					if !strings.Contains(says, want) {
						t.Errorf("%q is not in %q", want, says)
					}
				}
				if late.stage.counted(late.stage.metrics.refused.WithLabelValues(RefusedLimit)) != 1 {
					t.Error("it is not counted as over the limit")
				}
				if len(late.stage.created) != 0 {
					t.Error("an operation was recorded for a session that was refused")
				}
			})
		})
	}
}

// TestSlotIsReleased: a session's slot is free again after any kind of end, before the end is
// recorded.
func TestSlotIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSlotTable(t)
		for _, prepare := range []func(*stage){
			func(s *stage) { s.program = func(*program) Exit { return Exit{} } },
			func(s *stage) { s.program = until }, // which expires
			func(s *stage) { s.startErr = errors.New("no") },
			func(s *stage) { s.createErr = errors.New("no") },
			func(s *stage) { s.saveErr = errors.New("no") },
			func(s *stage) { s.tape.answer, s.out.gone = func(a *attempt) { a.refuse() }, true },
		} {
			s := newStage(t)
			s.slots, s.app.Sessions = table, 1
			s.saves = func(state *schema.Session) { // an observer of the end can start another session
				if held := table.numbers(); len(held) == 0 != !state.Ended.IsZero() {
					t.Errorf("slots %v are held when the session is recorded, with the end %s", held, state.Ended)
				}
			}
			prepare(s)
			_, _ = s.run(t.Context())
			if left := table.numbers(); len(left) != 0 {
				t.Fatalf("slots %v are held after the session", left)
			}
		}
	})
}

// TestSlotOfDeadGateway: the slots of a dead gateway are free within a minute.
func TestSlotOfDeadGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSlotTable(t)
		if _, err := table.CreateSlot(t.Context(), &schema.Slot{Stack: "default", Number: 1, Operation: "5", Gateway: "dead"}); err != nil {
			t.Fatal(err)
		}
		r := open(t, table, 1)
		<-r.done
		if _, ok := errors.AsType[*Refusal](r.err); !ok {
			t.Errorf("not refused: %v", r.err)
		}
		time.Sleep(time.Minute)
		r = open(t, table, 1)
		synctest.Wait()
		if !r.runs() {
			t.Errorf("refused after a minute: %v", r.err)
		}
		time.Sleep(24 * time.Hour)
		if !r.runs() || len(table.numbers()) != 1 {
			t.Error("the slot of a running session was not kept")
		}
		r.stop()
	})
}

// TestRestartedGateway: a gateway that was killed releases the slots that it held, and no others.
func TestRestartedGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		for i, gateway := range []string{"g-1", "g-2", "g-1"} {
			if _, err := s.slots.CreateSlot(t.Context(), &schema.Slot{Stack: "default", Number: i + 1, Gateway: gateway}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.manager().Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.slots.numbers(); fmt.Sprint(left) != "[2]" {
			t.Errorf("slots %v are held", left)
		}
	})
}

// TestSlotOutage: sessions survive an outage in which their slots lapse, and are counted again
// afterwards, beyond the limit if other sessions have started; no new one starts until there are
// fewer.
func TestSlotOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSlotTable(t)
		one, two := open(t, table, 2), open(t, table, 2)
		synctest.Wait()
		table.set(true, false)
		refused := open(t, table, 2)
		<-refused.done
		if says := fmt.Sprint(refused.err); !strings.Contains(says, "try again in a minute") {
			t.Errorf("without a response a session was refused with %q", says)
		}
		time.Sleep(10*time.Minute + slotRenew/2) // half a period after any renewal
		if len(table.numbers()) != 0 {
			t.Fatal("the slots have not lapsed")
		}
		// Another gateway is reconnected earlier.
		table.set(false, false)
		other := open(t, table, 2)
		synctest.Wait()
		time.Sleep(slotRenew)
		synctest.Wait()
		if !one.runs() || !two.runs() || !other.runs() {
			t.Error("a session did not outlive the outage")
		}
		if got := table.numbers(); len(got) != 3 {
			t.Errorf("slots %v are held by three sessions", got)
		}
		for _, r := range []*testSession{one, two} {
			late := open(t, table, 2)
			<-late.done
			if _, ok := errors.AsType[*Refusal](late.err); !ok {
				t.Errorf("not refused: %v", late.err)
			}
			r.stop()
		}
		late := open(t, table, 2)
		synctest.Wait()
		if !late.runs() {
			t.Errorf("refused with one of two: %v", late.err)
		}
		late.stop()
		other.stop()
		if left := table.numbers(); len(left) != 0 {
			t.Errorf("slots %v are held at the end", left)
		}
	})
}

// TestSlotAnswersLost: a renewal that took effect without a response is recognised as the session's
// own.
func TestSlotAnswersLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSlotTable(t)
		r := open(t, table, 1)
		synctest.Wait()
		for range 5 {
			table.set(false, true)
			time.Sleep(slotRenew)
			synctest.Wait()
			table.set(false, false)
			time.Sleep(slotRenew)
			synctest.Wait()
			if got := table.numbers(); fmt.Sprint(got) != "[1]" {
				t.Fatalf("slots %v", got)
			}
		}
		table.set(false, true)
		time.Sleep(slotRenew)
		synctest.Wait()
		r.stop()
		table.set(false, false)
		if left := table.numbers(); len(left) != 0 {
			t.Errorf("slots %v are held at the end", left)
		}
	})
}

// TestLowerLimit: lowering a limit ends no session, and no session starts until there are fewer
// than the limit.
func TestLowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSlotTable(t)
		var running []*testSession
		for range 3 {
			running = append(running, open(t, table, 3))
		}
		time.Sleep(time.Hour)
		for i, r := range running {
			late := open(t, table, 2)
			synctest.Wait()
			if late.runs() != (i == 2) {
				t.Errorf("with %d sessions of 2: it runs is %t", 3-i, late.runs())
			}
			if late.runs() {
				late.stop()
			}
			if !r.runs() {
				t.Error("a session was ended")
			}
			r.stop()
		}
	})
}
