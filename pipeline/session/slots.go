package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Sessions that run at once are counted over all gateways by slots: a session takes one of its
// stack's before it starts, and renews it for as long as it runs. One that is not renewed is free
// again within a minute, whatever became of its gateway.
//
// A slot decides whether a session starts, and never whether it goes on. While a gateway can't
// reach NATS, the slots of its sessions lapse, and others may take them. The sessions go on all the
// same: those that show something are ended soon for another reason, which is that they can't be
// recorded, and the idle ones harm nobody. Afterwards each takes its slot again or, where that is
// another's, a free one, above the limit if need be. So a stack can have more sessions than its
// limit after an outage, as after a limit that was lowered; it gets no new one before it has fewer.

const (
	// slotRenew is how often a slot is renewed: a few times before it lapses.
	slotRenew = 10 * time.Second
	// slotTimeout bounds the taking and each renewal of a slot.
	slotTimeout = 8 * time.Second
	// slotRelease bounds the giving back, for which a person waits whose session is over.
	slotRelease = 2 * time.Second
	// maxHolders is how many sessions a refusal names.
	maxHolders = 10
)

// ErrSlotTaken is what an error of Slots wraps where another session has the slot.
var ErrSlotTaken = errors.New("another session has the slot")

// Slots keeps the slots of all gateways' sessions. Each call is one step that nothing comes
// between.
type Slots interface {
	// Slots gives those that are held on a stack, in no order.
	Slots(ctx context.Context, stack string) ([]schema.Slot, error)
	// CreateSlot takes a slot, UpdateSlot renews it and DeleteSlot gives it back. All fail with
	// ErrSlotTaken where somebody else has it; the latter two also where nobody has it, or where it
	// was renewed with another revision than last.
	CreateSlot(ctx context.Context, s *schema.Slot) (revision uint64, err error)
	UpdateSlot(ctx context.Context, s *schema.Slot, last uint64) (revision uint64, err error)
	DeleteSlot(ctx context.Context, s *schema.Slot, last uint64) error
	// FindSlot gives who holds a slot; ok is false where nobody does.
	FindSlot(ctx context.Context, stack string, number int) (s schema.Slot, revision uint64, ok bool, err error)
}

// A slot is one that a session holds.
type slot struct {
	slots Slots
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc // of ctx, by release

	renewing sync.Mutex  // held while the slot is renewed
	timer    *time.Timer // guarded by renewing: of the next renewal. No goroutine waits for it: there are as many as sessions
	lost     bool        // guarded by renewing: it could not be renewed
	revision uint64      // guarded by renewing

	mu    sync.Mutex
	state schema.Slot   // guarded by mu; the number changes while the slot is renewed alone
	shown func() uint64 // guarded by mu: how many bytes the session has shown; nil before begin
}

// takeSlot takes a slot for a session that is about to start. A *Refusal says which sessions have
// them all.
func (m *Manager) takeSlot(ctx context.Context, app App, user schema.User) (*slot, error) {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	s := &slot{slots: m.o.Slots, log: m.o.Log.With("stack", app.Stack, "app", app.Name, "user", user.ID),
		state: schema.Slot{Stack: app.Stack, Holder: rand.Text(), App: app.Name, User: user, Gateway: m.o.Gateway, Since: time.Now().UTC()}}
	for {
		held, err := s.slots.Slots(ctx, app.Stack)
		if err != nil {
			return nil, err
		}
		if len(held) >= app.Sessions {
			return nil, noSlot(app, held)
		}
		// Of several that start at once, all try the same one, and one gets it: the others look again.
		err = s.create(ctx, held)
		if err == nil {
			s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
			s.renewing.Lock()
			defer s.renewing.Unlock()
			s.timer = time.AfterFunc(slotRenew, s.keep) // until release
			return s, nil
		}
		if !errors.Is(err, ErrSlotTaken) {
			return nil, err
		}
	}
}

// create takes the lowest slot that nobody holds.
func (s *slot) create(ctx context.Context, held []schema.Slot) error {
	number := 1
	for slices.ContainsFunc(held, func(h schema.Slot) bool { return h.Number == number }) {
		number++
	}
	return s.createAt(ctx, number)
}

func (s *slot) createAt(ctx context.Context, number int) error {
	state := s.snapshot()
	state.Number = number
	revision, err := s.slots.CreateSlot(ctx, &state)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Number, s.revision = number, revision
	return nil
}

func (s *slot) snapshot() schema.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown != nil {
		s.state.Bytes = s.shown()
	}
	return s.state
}

// begin has the slot tell what its session is. It is called once at most.
func (s *slot) begin(operation string, shown func() uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Operation, s.shown = operation, shown
	go s.keep() // ends when that is told, or with release
}

// keep renews the slot, and sees to the next time, unless it was released.
func (s *slot) keep() {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.timer.Reset(slotRenew)
	err := s.renew()
	if s.ctx.Err() != nil {
		return
	}
	switch {
	case err != nil && !s.lost:
		s.log.Warn("the slot of a session can't be renewed, which is tried again: the session goes on", "error", err)
	case err == nil && s.lost:
		s.log.Info("the slot of a session is renewed again", "number", s.snapshot().Number)
	}
	s.lost = err != nil
}

// renew renews the slot, or takes another one where it has lapsed. renewing is held.
func (s *slot) renew() error {
	ctx, cancel := context.WithTimeout(s.ctx, slotTimeout)
	defer cancel()
	state := s.snapshot()
	revision, err := s.slots.UpdateSlot(ctx, &state, s.revision)
	if err == nil {
		s.revision = revision
	}
	if !errors.Is(err, ErrSlotTaken) {
		return err
	}
	// It was renewed, and the answer was lost; or it has lapsed.
	now, revision, ok, err := s.slots.FindSlot(ctx, state.Stack, state.Number)
	switch {
	case err != nil:
		return err
	case ok && now.Holder == state.Holder:
		s.revision = revision
		return nil
	case !ok:
		if err := s.createAt(ctx, state.Number); !errors.Is(err, ErrSlotTaken) {
			return err
		}
	}
	held, err := s.slots.Slots(ctx, state.Stack)
	if err != nil {
		return err
	}
	return s.create(ctx, held)
}

// release gives the slot back. Where that can't be done, it lapses.
func (s *slot) release() {
	s.stop()
	s.renewing.Lock() // what is under way ends with stop, and nothing follows
	defer s.renewing.Unlock()
	s.timer.Stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), slotRelease)
	defer cancel()
	state := s.snapshot()
	err := s.slots.DeleteSlot(ctx, &state, s.revision)
	if errors.Is(err, ErrSlotTaken) { // the answer to the last renewal may have been lost
		now, revision, ok, findErr := s.slots.FindSlot(ctx, state.Stack, state.Number)
		if findErr == nil && (!ok || now.Holder != state.Holder) {
			return
		}
		err = errors.Join(findErr, s.slots.DeleteSlot(ctx, &state, revision))
	}
	if err != nil {
		s.log.Warn("the slot of a session that is over is free again within a minute, and not at once", "error", err)
	}
}

// noSlot says who has a stack's slots, and what to do.
func noSlot(app App, held []schema.Slot) *Refusal {
	slices.SortFunc(held, func(a, b schema.Slot) int { return a.Since.Compare(b.Since) })
	var b strings.Builder
	limit := fmt.Sprintf("%d sessions at a time", app.Sessions)
	if app.Sessions == 1 {
		limit = "one session at a time"
	}
	fmt.Fprintf(&b, "the stack %s may have %s (plan %s), so this one was not started. Running:\n", app.Stack, limit, app.Plan)
	kill := "ID"
	for i, h := range held {
		if i == maxHolders {
			fmt.Fprintf(&b, "  and %d more\n", len(held)-maxHolders)
			break
		}
		operation := "a session that is just starting"
		if h.Operation != "" {
			operation = "operation " + h.Operation
			if kill == "ID" {
				kill = h.Operation
			}
		}
		fmt.Fprintf(&b, "  %s: %s on %s, since %s\n", operation, person(h.User), h.App, h.Since.Format("2 January 2006 at 15:04:05 UTC"))
	}
	fmt.Fprintf(&b, "Wait until one has ended, end one by leaving it or have its operators do \"ttydrain sessions kill %s\", or move the stack to a larger plan", kill)
	return &Refusal{b.String()}
}

// person names a person.
func person(u schema.User) string {
	if u.Email == "" {
		return u.Name
	}
	return u.Name + " <" + u.Email + ">"
}

// freeSlots gives back the slots of sessions of this gateway that ended with it when it was killed.
func (m *Manager) freeSlots(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	all, err := m.o.Slots.Slots(ctx, "")
	if err != nil {
		return err
	}
	for i := range all {
		s := &all[i]
		if s.Gateway != m.o.Gateway {
			continue
		}
		now, revision, ok, err := m.o.Slots.FindSlot(ctx, s.Stack, s.Number)
		if err != nil {
			return err
		}
		if ok && now.Holder == s.Holder {
			if err := m.o.Slots.DeleteSlot(ctx, s, revision); err != nil && !errors.Is(err, ErrSlotTaken) {
				return err
			}
		}
	}
	return nil
}
