// Package busstore records sessions on the bus. [Store] is the one adapter from package session,
// which knows no bus, to package bus, which knows no sessions.
package busstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/tracing"
	"github.com/ttydrain/ttydrain/schema"
)

// A Store implements [session.Store], [session.Publisher] and [session.Slots] on a bus. Its errors
// wrap [session.ErrFull] and [session.ErrSlotTaken] where the bus's wrap [bus.ErrFull] and
// [bus.ErrSlotTaken].
type Store struct {
	*bus.Bus
	tracer *tracing.Tracer
}

// New returns the store of a bus, whose owner closes it. Some chunks start a trace; none do without
// a tracer.
func New(b *bus.Bus, tracer *tracing.Tracer) Store { return Store{b, tracer} }

// Subject returns the subject of an operation's chunks on the TTY stream.
func (s Store) Subject(op *schema.Operation) string { return schema.SubjectTTY(op, s.Partitions()) }

// CreateOperation implements [session.Store].
func (s Store) CreateOperation(ctx context.Context, op *schema.Operation) error {
	return translate(s.Bus.CreateOperation(ctx, op))
}

// SaveSession implements [session.Store].
func (s Store) SaveSession(ctx context.Context, state *schema.Session) error {
	return translate(s.Bus.SaveSession(ctx, state))
}

// LastChunks implements [session.Store].
func (s Store) LastChunks(ctx context.Context, subject string, each func(sequence uint64, data []byte) error) error {
	return s.Tail(ctx, schema.StreamTTY, subject, func(m bus.Message) error { return each(m.Sequence, m.Data) })
}

// CreateSlot implements [session.Slots].
func (s Store) CreateSlot(ctx context.Context, slot *schema.Slot) (uint64, error) {
	revision, err := s.Bus.CreateSlot(ctx, slot)
	return revision, translate(err)
}

// UpdateSlot implements [session.Slots].
func (s Store) UpdateSlot(ctx context.Context, slot *schema.Slot, last uint64) (uint64, error) {
	revision, err := s.Bus.UpdateSlot(ctx, slot, last)
	return revision, translate(err)
}

// DeleteSlot implements [session.Slots].
func (s Store) DeleteSlot(ctx context.Context, slot *schema.Slot, last uint64) error {
	return translate(s.Bus.DeleteSlot(ctx, slot, last))
}

// Room returns the free space for recording output, for [session.Options].
func (s Store) Room(ctx context.Context) (session.Room, error) {
	r, err := s.Bus.Room(ctx)
	return session.Room{Free: r.Free, Reserve: r.Reserve}, err
}

// Publish implements [session.Publisher].
func (s Store) Publish(subject, id string, data []byte) session.Publish {
	span := s.tracer.Start("capture")
	if span == nil {
		return publish{Publish: s.PublishChunk(subject, id, data)}
	}
	span.Number("bytes", len(data))
	return publish{s.PublishChunk(subject, id, data, bus.Traced(span.Traceparent())), span}
}

// PublishEnd implements [session.Publisher].
func (s Store) PublishEnd(subject string, last uint64, data []byte) session.Publish {
	return publish{Publish: s.Bus.PublishEnd(subject, last, data)}
}

// A publish is a chunk in flight, with its span.
type publish struct {
	*bus.Publish
	span *tracing.Span // nil for none
}

// Wait implements [session.Publish].
func (p publish) Wait(ctx context.Context) error {
	_, err := p.Publish.Wait(ctx)
	p.span.End(tracing.Result(err, "not recorded"))
	return translate(err)
}

// translate returns an error of the bus in the terms of package session.
func translate(err error) error {
	switch {
	case errors.Is(err, bus.ErrFull):
		return fmt.Errorf("%w: %w", session.ErrFull, err)
	case errors.Is(err, bus.ErrSlotTaken):
		return fmt.Errorf("%w: %w", session.ErrSlotTaken, err)
	}
	return err
}
