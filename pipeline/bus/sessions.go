package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// SlotTTL is how long a slot is kept that is not renewed: how long after the death of a gateway
	// those of its sessions are free.
	SlotTTL = 45 * time.Second
	// killRetention is how long the wish to end a session waits for its gateway: longer than a session
	// can last.
	killRetention = 8 * 24 * time.Hour
)

// ErrSlotTaken is the error of a slot that somebody else has, or that is not who renews it's any
// more.
var ErrSlotTaken = errors.New("another session has the slot")

// Slots gives the slots that are held on a stack, in no order; on all stacks where stack is "".
func (b *Bus) Slots(ctx context.Context, stack string) ([]schema.Slot, error) {
	keys := ">"
	if stack != "" {
		keys = schema.Token(stack) + ".*"
	}
	return all[schema.Slot](ctx, b.slots, keys, "the slots")
}

// CreateSlot takes a slot, or fails with ErrSlotTaken. The revision is for UpdateSlot and
// DeleteSlot.
func (b *Bus) CreateSlot(ctx context.Context, s *schema.Slot) (revision uint64, err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("encode a slot: %w", err)
	}
	revision, err = b.slots.Create(ctx, slotKey(s), data)
	return revision, slotError("take a slot", err)
}

// UpdateSlot renews a slot with what is in s, or fails with ErrSlotTaken. Another error does not
// say whether it is renewed.
func (b *Bus) UpdateSlot(ctx context.Context, s *schema.Slot, last uint64) (revision uint64, err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("encode a slot: %w", err)
	}
	revision, err = b.slots.Update(ctx, slotKey(s), data, last)
	return revision, slotError("renew a slot", err)
}

// DeleteSlot lets go of a slot, or fails with ErrSlotTaken.
func (b *Bus) DeleteSlot(ctx context.Context, s *schema.Slot, last uint64) error {
	return slotError("let go of a slot", b.slots.Delete(ctx, slotKey(s), jetstream.LastRevision(last)))
}

// FindSlot gives the slot of a stack with a number, and its revision; ok is false where nobody
// holds it.
func (b *Bus) FindSlot(ctx context.Context, stack string, number int) (s schema.Slot, revision uint64, ok bool, err error) {
	entry, err := b.slots.Get(ctx, slotKey(&schema.Slot{Stack: stack, Number: number}))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return s, 0, false, nil
	}
	if err != nil {
		return s, 0, false, fmt.Errorf("look for a slot: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &s); err != nil {
		return s, 0, false, fmt.Errorf("look for a slot: %w", schema.ErrCorrupt)
	}
	return s, entry.Revision(), true, nil
}

func slotKey(s *schema.Slot) string { return schema.Token(s.Stack) + "." + strconv.Itoa(s.Number) }

func slotError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case conflicts(err):
		return fmt.Errorf("%s: %w", doing, ErrSlotTaken)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// WishKill records the wish that a session ends, in the place of an earlier one.
func (b *Bus) WishKill(ctx context.Context, k *schema.Kill) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode the wish to end a session: %w", err)
	}
	if err := b.disk.room(forBookkeeping, len(data)); err != nil {
		return fmt.Errorf("record the wish to end a session: %w", err)
	}
	if _, err := b.kills.Put(ctx, schema.Token(k.Operation), data); err != nil {
		return fmt.Errorf("record the wish to end a session: %w", classify(err))
	}
	return nil
}

// ForgetKill takes away the wish that a session ends, when it has.
func (b *Bus) ForgetKill(ctx context.Context, operation string) error {
	if err := b.kills.Delete(ctx, schema.Token(operation)); err != nil {
		return fmt.Errorf("take away the wish to end a session: %w", err)
	}
	return nil
}

// WatchKills calls wanted with every wish that a session ends, those that are there and those to
// come, until ctx is done. What can't be read is passed over.
func (b *Bus) WatchKills(ctx context.Context, wanted func(schema.Kill)) error {
	watch, err := b.kills.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch which sessions are to be ended: %w", err)
	}
	defer watch.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return fmt.Errorf("watch which sessions are to be ended: %w", watchEnd(ctx))
			}
			if entry == nil { // all that there was has been told
				continue
			}
			var k schema.Kill
			if err := json.Unmarshal(entry.Value(), &k); err != nil {
				b.log.Error("the wish to end a session can't be read and is passed over", "key", entry.Key())
				continue
			}
			wanted(k)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Session gives what is recorded of one session, or ErrNotThere.
func (b *Bus) Session(ctx context.Context, operation string) (s schema.Session, err error) {
	found := false
	err = b.watchSession(ctx, operation, true, func(now schema.Session) bool { s, found = now, true; return true })
	if err == nil && !found {
		err = fmt.Errorf("session %s: %w", operation, ErrNotThere)
	}
	return s, err
}

// AwaitEnd waits until it is recorded that a session has ended, and gives what is recorded.
func (b *Bus) AwaitEnd(ctx context.Context, operation string) (s schema.Session, err error) {
	err = b.watchSession(ctx, operation, false, func(now schema.Session) bool { s = now; return !now.Ended.IsZero() })
	return s, err
}

// watchSession calls each with what is recorded of a session, now and whenever that changes, until
// it gives true; with now set, until all was told that there is.
func (b *Bus) watchSession(ctx context.Context, operation string, now bool, each func(schema.Session) bool) error {
	watch, err := b.sessions.Watch(ctx, schema.Token(operation), jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("look at session %s: %w", operation, err)
	}
	defer watch.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return fmt.Errorf("look at session %s: %w", operation, watchEnd(ctx))
			}
			if entry == nil {
				if now {
					return nil
				}
				continue
			}
			var s schema.Session
			if err := json.Unmarshal(entry.Value(), &s); err != nil {
				return fmt.Errorf("look at session %s: %w", operation, schema.ErrCorrupt)
			}
			if each(s) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("look at session %s: %w", operation, context.Cause(ctx))
		}
	}
}

// watchEnd is why a watch has ended.
func watchEnd(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.New("the connection to NATS has ended")
}
