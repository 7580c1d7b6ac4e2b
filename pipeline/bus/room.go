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
	// The reserve of a stream is one streamReservePart of its size limit, at most maxReserve: while
	// less is free, only small amounts of output are admitted.
	streamReservePart = 8
	// One newSessionsPart of the reserve is not available to new sessions, one endsPart not to
	// output: this leaves space for the ends of sessions that are recorded late.
	newSessionsPart, endsPart = 4, 8
	// scarceFrom and scarceTo are the multiples of the reserve that are free when the removal of
	// delivered messages starts and stops.
	scarceFrom, scarceTo = 2, 3
)

// Room describes the space for recording the output of sessions.
type Room struct {
	// Free is the number of free bytes, without those reserved for delivery and bookkeeping.
	Free uint64
	// Reserve is the part that is reserved for sessions with little output, and for starts and ends
	// of sessions: other sessions wait while less is free.
	Reserve uint64
	// Of names the limiting resource.
	Of string
}

// Usage describes how full a stream is.
type Usage struct {
	Bytes uint64
	Limit uint64 // 0: no size limit
	// First and Last are the sequences of its first and last message.
	First, Last uint64
}

// usages caches the usage of the streams at the last check. The zero value is ready to use.
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

// get returns the zero Usage for a stream that was not checked yet.
func (s *usages) get(stream string) Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[stream]
}

// reserve returns the reserve of the stream.
func (u Usage) reserve() uint64 { return min(u.Limit/streamReservePart, maxReserve) }

// Scarce reports whether so little of the size limit is left that delivered messages have to be
// removed.
func (u Usage) Scarce() bool { return u.Limit > 0 && u.free() < scarceFrom*u.reserve() }

func (u Usage) free() uint64 { return u.Limit - min(u.Bytes, u.Limit) }

// Usage returns the usage of a stream.
func (b *Bus) Usage(ctx context.Context, stream string) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := b.streams[stream].Info(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("read the usage of the stream %s: %w", stream, err)
	}
	u := Usage{
		Bytes: info.State.Bytes, Limit: uint64(max(info.Config.MaxBytes, 0)),
		First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq,
	}
	b.usages.set(stream, u)
	return u, nil
}

// Room returns the space for recording the output of sessions: on the stream TTY, if it has a size
// limit, or on the disk of an embedded server, whichever is scarcer. It is for processes with a
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

// Capacity returns the size limit of the stream TTY or, without one, the size of the disk of an
// embedded server, in bytes; 0 if neither is known.
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

// forNewSession returns an error that wraps ErrFull if the remaining space is reserved for running
// sessions.
func (r Room) forNewSession() error {
	if r.Reserve == 0 || r.Free >= r.Reserve/newSessionsPart {
		return nil
	}
	return fmt.Errorf("%w: %s has %d KiB left, which are reserved for running sessions", ErrFull, r.Of, r.Free>>10)
}

// roomForSession returns an error that wraps ErrFull if no new session can be recorded.
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

// roomForOutput returns an error that wraps ErrFull if the rest of the stream TTY, at the last
// check, is reserved for the ends of sessions.
func (b *Bus) roomForOutput(n int) error {
	u := b.usages.get(schema.StreamTTY)
	if u.Limit == 0 || u.free() >= u.reserve()/endsPart+uint64(n) {
		return nil
	}
	return fmt.Errorf("%w: the stream %s has %d KiB left, which are reserved for the ends of sessions", ErrFull, schema.StreamTTY, u.free()>>10)
}

// Scarce reports whether a stream, or the disk of an embedded server, is so full that delivered
// data has to be removed, and how many bytes of the stream. It ignores a disk without space for
// bookkeeping, which removing requires.
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
	if err := b.disk.admit(forBookkeeping, 0); err != nil {
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

// Headroom returns the number of bytes that can be written to a stream before Scarce reports it,
// according to u.
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

// Purge removes the messages on a subject, which may be a filter, before a sequence. With an
// embedded server that syncs, the files are synced when it returns.
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

// FirstUnread returns the sequence of the first message after another one that matches one of the
// filters. If there is none up to end, a message that the stream has or had, it returns the
// sequence after end; if a server of a cluster may not know yet, the sequence after the other one.
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
	return end, nil // which may match itself
}

// IsRefused reports whether NATS refused a request for lack of a permission.
func IsRefused(err error) bool { return errors.As(err, new(*RefusedError)) }
