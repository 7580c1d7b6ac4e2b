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
	// SlotTTL is the lifetime of a slot that is not renewed: the time after the death of a gateway
	// until its sessions' slots are free.
	SlotTTL = 45 * time.Second
	// killRetention is the time for which a kill request waits for its gateway: longer than a
	// session can last.
	killRetention = 8 * 24 * time.Hour
)

// ErrSlotTaken is returned for a slot that another session holds, or that the session no longer
// holds.
var ErrSlotTaken = errors.New("another session has the slot")

// Slots returns the slots held on a stack ("": on all stacks), in no particular order.
func (b *Bus) Slots(ctx context.Context, stack string) ([]schema.Slot, error) {
	keys := ">"
	if stack != "" {
		keys = schema.Token(stack) + ".*"
	}
	return all[schema.Slot](ctx, b.slots, keys, "the slots")
}

// CreateSlot takes a slot, or fails with ErrSlotTaken. The revision is needed for UpdateSlot and
// DeleteSlot.
func (b *Bus) CreateSlot(ctx context.Context, s *schema.Slot) (revision uint64, err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("encode a slot: %w", err)
	}
	revision, err = b.slots.Create(ctx, slotKey(s), data)
	return revision, slotError("take a slot", err)
}

// UpdateSlot renews a slot with the content of s, or fails with ErrSlotTaken. After another error
// it is unknown whether the slot was renewed.
func (b *Bus) UpdateSlot(ctx context.Context, s *schema.Slot, last uint64) (revision uint64, err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("encode a slot: %w", err)
	}
	revision, err = b.slots.Update(ctx, slotKey(s), data, last)
	return revision, slotError("renew a slot", err)
}

// DeleteSlot releases a slot, or fails with ErrSlotTaken.
func (b *Bus) DeleteSlot(ctx context.Context, s *schema.Slot, last uint64) error {
	return slotError("release a slot", b.slots.Delete(ctx, slotKey(s), jetstream.LastRevision(last)))
}

// FindSlot returns the slot of a stack with a number, and its revision; ok is false if it is free.
func (b *Bus) FindSlot(ctx context.Context, stack string, number int) (s schema.Slot, revision uint64, ok bool, err error) {
	entry, err := b.slots.Get(ctx, slotKey(&schema.Slot{Stack: stack, Number: number}))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return s, 0, false, nil
	}
	if err != nil {
		return s, 0, false, fmt.Errorf("find a slot: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &s); err != nil {
		return s, 0, false, fmt.Errorf("find a slot: %w", schema.ErrCorrupt)
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

// RequestKill records a request to end a session, replacing an earlier one.
func (b *Bus) RequestKill(ctx context.Context, k *schema.Kill) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode the kill request: %w", err)
	}
	if err := b.disk.admit(forBookkeeping, len(data)); err != nil {
		return fmt.Errorf("record the kill request: %w", err)
	}
	if _, err := b.kills.Put(ctx, schema.Token(k.Operation), data); err != nil {
		return fmt.Errorf("record the kill request: %w", classify(err))
	}
	return nil
}

// ForgetKill deletes the kill request of a session that has ended.
func (b *Bus) ForgetKill(ctx context.Context, operation string) error {
	if err := b.kills.Delete(ctx, schema.Token(operation)); err != nil {
		return fmt.Errorf("delete the kill request: %w", err)
	}
	return nil
}

// WatchKills calls requested for every kill request, existing and new, until ctx is done. It skips
// unreadable ones.
func (b *Bus) WatchKills(ctx context.Context, requested func(schema.Kill)) error {
	return follow(ctx, b.kills, ">", "watch the kill requests", func(entry jetstream.KeyValueEntry) error {
		if entry == nil { // end of the existing values
			return nil
		}
		var k schema.Kill
		if err := json.Unmarshal(entry.Value(), &k); err != nil {
			b.log.Error("kill request skipped: it is corrupt", "key", entry.Key())
			return nil
		}
		requested(k)
		return nil
	}, jetstream.IgnoreDeletes())
}

// Session returns the recorded state of a session, or ErrNotFound.
func (b *Bus) Session(ctx context.Context, operation string) (s schema.Session, err error) {
	found := false
	err = b.watchSession(ctx, operation, true, func(now schema.Session) bool { s, found = now, true; return true })
	if err == nil && !found {
		err = fmt.Errorf("session %s: %w", operation, ErrNotFound)
	}
	return s, err
}

// AwaitEnd waits until the end of a session is recorded, and returns its recorded state.
func (b *Bus) AwaitEnd(ctx context.Context, operation string) (s schema.Session, err error) {
	err = b.watchSession(ctx, operation, false, func(now schema.Session) bool { s = now; return !now.Ended.IsZero() })
	return s, err
}

// watchSession calls each with the recorded state of a session, now and after every change, until
// each returns true; with now set, only for the existing state.
func (b *Bus) watchSession(ctx context.Context, operation string, now bool, each func(schema.Session) bool) error {
	return follow(ctx, b.sessions, schema.Token(operation), "read session "+operation, func(entry jetstream.KeyValueEntry) error {
		switch {
		case entry == nil && now:
			return errFollowed
		case entry == nil: // end of the existing values
			return nil
		}
		var s schema.Session
		if err := json.Unmarshal(entry.Value(), &s); err != nil {
			return schema.ErrCorrupt
		}
		if each(s) {
			return errFollowed
		}
		return nil
	}, jetstream.IgnoreDeletes())
}
