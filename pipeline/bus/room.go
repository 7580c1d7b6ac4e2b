package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// streamReservePart of a stream's bound is its reserve, at most reserveMost: while less is
	// free, output is let in a little at a time only.
	streamReservePart = 8
	// newSessionsPart of the reserve is kept from new sessions, endsPart from output: the ends of
	// sessions that are recorded late still find room.
	newSessionsPart, endsPart = 4, 8
	// scarceFrom and scarceTo are how many reserves are free when the removal of delivered messages
	// begins, and ends.
	scarceFrom, scarceTo = 2, 3
)

// Room describes the room that is left to record the output of sessions.
type Room struct {
	// Free bytes are left, without those that are kept for delivery and bookkeeping.
	Free uint64
	// Reserve bytes of these are for sessions with little output, and for the start and end of
	// sessions: others wait while less than Reserve is free.
	Reserve uint64
	// Of names what bounds the room.
	Of string
}

// Usage describes how full a stream is.
type Usage struct {
	Bytes uint64
	Limit uint64 // 0: it has no bound of its own
	// First and Last are the sequences of the messages that it has.
	First, Last uint64
}

// usages keeps how full the streams were when that was last asked. The zero value is ready.
type usages struct {
	mu sync.Mutex
	of map[string]Usage // guarded by mu: by stream
}

func (s *usages) set(stream string, u Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string]Usage)
	}
	s.of[stream] = u
}

// get returns the zero Usage for a stream that was not looked at.
func (s *usages) get(stream string) Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[stream]
}

// reserve returns the reserve of a stream with the bound.
func (u Usage) reserve() uint64 { return min(u.Limit/streamReservePart, reserveMost) }

// Scarce reports whether so little of the stream's bound is left that delivered messages are to be
// removed.
func (u Usage) Scarce() bool { return u.Limit > 0 && u.free() < scarceFrom*u.reserve() }

func (u Usage) free() uint64 { return u.Limit - min(u.Bytes, u.Limit) }

// Usage returns how full a stream is.
func (b *Bus) Usage(ctx context.Context, stream string) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("ask how full the stream %s is: %w", stream, err)
	}
	u := Usage{
		Bytes: info.State.Bytes, Limit: uint64(max(info.Config.MaxBytes, 0)),
		First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq,
	}
	b.usages.set(stream, u)
	return u, nil
}

// Room returns how much room is left to record what sessions show: on the stream TTY, where it has
// a bound, and on the disk of an embedded server, whichever is less. It is for processes with a
// gateway.
func (b *Bus) Room(ctx context.Context) (Room, error) {
	u, err := b.Usage(ctx, schema.StreamTTY)
	if err != nil {
		return Room{}, err
	}
	return b.roomWith(u)
}

func (b *Bus) roomWith(u Usage) (Room, error) {
	r := Room{Free: 1 << 62, Of: "the store"}
	if u.Limit > 0 {
		r = Room{u.free(), u.reserve(), "the stream " + schema.StreamTTY}
	}
	if b.disk == nil {
		return r, nil
	}
	free, reserve, err := b.disk.space()
	if err != nil {
		return r, err
	}
	if disk := (Room{free - min(reserve, free), reserve, "the disk of the store"}); disk.scarcer(r) {
		return disk, nil
	}
	return r, nil
}

// Capacity returns the bound of the stream TTY or, without one, the size of the disk of an embedded
// server, in bytes; 0 where neither is known.
func (b *Bus) Capacity(ctx context.Context) (int64, error) {
	u, err := b.Usage(ctx, schema.StreamTTY)
	if err != nil || u.Limit > 0 || b.disk == nil {
		return int64(u.Limit), err
	}
	return b.disk.capacity()
}

// scarcer reports whether a smaller part of the reserve of r is left than of other's.
func (r Room) scarcer(other Room) bool {
	if other.Reserve == 0 || r.Reserve == 0 {
		return r.Reserve > 0
	}
	return float64(r.Free)/float64(r.Reserve) < float64(other.Free)/float64(other.Reserve)
}

// forNewSession returns an error that wraps ErrFull where the room left is for running sessions.
func (r Room) forNewSession() error {
	if r.Reserve == 0 || r.Free >= r.Reserve/newSessionsPart {
		return nil
	}
	return fmt.Errorf("%w: %s has %d KiB left, which are kept for the sessions that run", ErrFull, r.Of, r.Free>>10)
}

// roomForSession returns an error that wraps ErrFull where no new session can be recorded.
func (b *Bus) roomForSession(ctx context.Context) error {
	if !b.Has(schema.StreamTTY) {
		return nil
	}
	r, err := b.Room(ctx)
	if err != nil {
		return err
	}
	return r.forNewSession()
}

// roomForOutput returns an error that wraps ErrFull where the rest of the stream TTY, as of the
// last look, is for the ends of sessions.
func (b *Bus) roomForOutput(n int) error {
	u := b.usages.get(schema.StreamTTY)
	if u.Limit == 0 || u.free() >= u.reserve()/endsPart+uint64(n) {
		return nil
	}
	return fmt.Errorf("%w: the stream %s has %d KiB left, which are kept for the ends of sessions", ErrFull, schema.StreamTTY, u.free()>>10)
}

// Scarce reports whether a stream, or the disk of an embedded server, is so full that delivered
// data is to be removed, and how many bytes of the stream. The disk is left alone where not even
// bookkeeping has room on it, which removing needs.
func (b *Bus) Scarce(ctx context.Context, stream string) (need uint64, u Usage, err error) {
	if u, err = b.Usage(ctx, stream); err != nil {
		return 0, u, err
	}
	if u.Scarce() {
		need = scarceTo*u.reserve() - u.free()
	}
	if b.disk == nil {
		return need, u, nil
	}
	if err := b.disk.room(forBookkeeping, 0); err != nil {
		return 0, u, nil
	}
	free, reserve, err := b.disk.space()
	if err != nil {
		return 0, u, err
	}
	if free < (1+scarceFrom)*reserve {
		need = max(need, (1+scarceTo)*reserve-free)
	}
	return min(need, u.Bytes), u, nil
}

// Headroom returns how many bytes can be written to a stream before Scarce reports it, as of u.
func (b *Bus) Headroom(u Usage) uint64 {
	headroom := uint64(1 << 62)
	if u.Limit > 0 {
		headroom = u.free() - min(scarceFrom*u.reserve(), u.free())
	}
	if b.disk != nil {
		if free, reserve, err := b.disk.space(); err == nil {
			headroom = min(headroom, free-min((1+scarceFrom)*reserve, free))
		}
	}
	return headroom
}

// Purge removes the messages on a subject, which may be a filter, that come before a sequence. With
// an embedded server that syncs, it returns when the files are on the disk.
func (b *Bus) Purge(ctx context.Context, stream, subject string, before uint64) error {
	if before <= 1 { // 0 would remove all
		return nil
	}
	_, err := guarded(ctx, b.refusals, stream, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.streams[stream].Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(before))
	})
	if err != nil {
		return fmt.Errorf("remove delivered messages of the stream %s: %w", stream, err)
	}
	return nil
}

// SettlePurge syncs the files of a stream after messages were removed: the server may have written
// the remaining messages of a file to a new one.
func (b *Bus) SettlePurge(stream string) error {
	if b.embedded.syncedOf(stream) == nil {
		return nil
	}
	return b.embedded.settleStream(stream)
}

// FirstUnread returns the sequence of the first message after another that one of the filters
// matches. Where there is none up to end, a message that the stream has or had, it returns the
// sequence after end; where a server of a cluster may not know yet, that after the other.
func (b *Bus) FirstUnread(ctx context.Context, stream string, filters []string, after, end uint64) (uint64, error) {
	first, ok, err := b.First(ctx, stream, filters, after)
	if err != nil {
		return 0, err
	}
	if ok {
		return first.Sequence, nil
	}
	if b.embedded != nil {
		return end + 1, nil
	}
	caughtUp, err := b.CaughtUp(ctx, stream, filters, after, end)
	if err != nil || !caughtUp {
		return after + 1, err
	}
	return end, nil // which may be one of them
}

// IsRefused reports whether NATS refused a request for lack of a permission.
func IsRefused(err error) bool { return errors.As(err, new(*RefusedError)) }
