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

// Concurrent sessions are counted over all gateways by slots: a session takes a slot of its stack
// before it starts, and renews it while it runs. A slot that is not renewed is freed within a
// minute, even if its gateway died.
//
// A slot decides whether a session starts, and never whether it continues. While a gateway can't
// reach NATS, the slots of its sessions lapse, and others may take them. The sessions continue:
// those with output soon end for another reason, because they can't be recorded, and idle ones do
// no harm. Afterwards each takes its slot again or, if another session has it, a free one, if
// necessary above the limit. So a stack can exceed its limit after an outage, as after its limit
// was lowered; it gets no new session until it is below the limit.

const (
	// slotRenew is the interval of renewals: several per lifetime of a slot.
	slotRenew = 10 * time.Second
	// slotTimeout limits acquiring a slot, and each renewal.
	slotTimeout = 8 * time.Second
	// slotRelease limits the release, because the user of the ended session waits for it.
	slotRelease = 2 * time.Second
	// maxHolders is the maximum number of sessions that a refusal names.
	maxHolders = 10
)

// ErrSlotTaken is wrapped by errors of Slots if another session has the slot.
var ErrSlotTaken = errors.New("another session has the slot")

// Slots stores the slots of all gateways' sessions. Each call is atomic.
type Slots interface {
	// Slots returns the slots held on a stack ("": on all), in no particular order.
	Slots(ctx context.Context, stack string) ([]schema.Slot, error)
	// CreateSlot takes a slot, UpdateSlot renews it and DeleteSlot releases it. They fail with
	// ErrSlotTaken if another session has it; the latter two also if it is free, or if last is not
	// its revision.
	CreateSlot(ctx context.Context, s *schema.Slot) (revision uint64, err error)
	UpdateSlot(ctx context.Context, s *schema.Slot, last uint64) (revision uint64, err error)
	DeleteSlot(ctx context.Context, s *schema.Slot, last uint64) error
	// FindSlot returns the slot with a number; ok is false if it is free.
	FindSlot(ctx context.Context, stack string, number int) (s schema.Slot, revision uint64, ok bool, err error)
}

// slot is a slot that a session holds.
type slot struct {
	slots Slots
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc // cancels ctx; called by release

	renewing sync.Mutex  // held while the slot is renewed
	timer    *time.Timer // guarded by renewing: next renewal. A timer, because a goroutine for each session costs more
	lost     bool        // guarded by renewing: it could not be renewed
	revision uint64      // guarded by renewing

	mu    sync.Mutex
	state schema.Slot   // guarded by mu; only a renewal changes the number
	shown func() uint64 // guarded by mu: returns the session's byte count; nil before begin
}

// takeSlot takes a slot for a session that is about to start. If none is free, it returns a
// *Refusal that names the sessions that hold them.
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
		// Sessions that start concurrently try the same slot; one gets it, and the others try the
		// next.
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

// create takes the lowest free slot.
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

// begin adds the session's operation to the slot. It is called at most once.
func (s *slot) begin(operation string, shown func() uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Operation, s.shown = operation, shown
	go s.keep() // ends after one renewal, or with release
}

// keep renews the slot and schedules the next renewal, unless the slot was released.
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
		s.log.Warn("slot of session not renewed, retrying; the session continues", "error", err)
	case err == nil && s.lost:
		s.log.Info("slot of session renewed again", "number", s.snapshot().Number)
	}
	s.lost = err != nil
}

// renew renews the slot, or takes another one if it has lapsed. The caller holds renewing.
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
	// Either it was renewed and the answer was lost, or it has lapsed.
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

// release releases the slot. If that fails, the slot lapses.
func (s *slot) release() {
	s.stop()
	s.renewing.Lock() // stop ends a renewal in progress, and none follows
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
		s.log.Warn("slot of ended session not released; it lapses within a minute", "error", err)
	}
}

// noSlot returns a refusal that names the holders of a stack's slots, and what to do.
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

// person returns a user's name and email.
func person(u schema.User) string {
	if u.Email == "" {
		return u.Name
	}
	return u.Name + " <" + u.Email + ">"
}

// freeSlots releases the slots of this gateway's sessions that ended when it was killed.
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
