package growth

import (
	"context"
	"errors"
	"fmt"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// liveStore is the bus as sessions want it.
type liveStore struct{ *bus.Bus }

func (s liveStore) Publish(subject, id string, data []byte) session.Publish {
	return livePublish{s.PublishChunk(subject, id, data)}
}

func (s liveStore) PublishEnd(subject string, last uint64, data []byte) session.Publish {
	return livePublish{s.Bus.PublishEnd(subject, last, data)}
}

func (s liveStore) LastChunks(ctx context.Context, subject string, each func(uint64, []byte) error) error {
	return s.Tail(ctx, schema.StreamTTY, subject, func(m bus.Message) error { return each(m.Sequence, m.Data) })
}

func (s liveStore) CreateSlot(ctx context.Context, slot *schema.Slot) (uint64, error) {
	revision, err := s.Bus.CreateSlot(ctx, slot)
	return revision, slotError(err)
}

func (s liveStore) UpdateSlot(ctx context.Context, slot *schema.Slot, last uint64) (uint64, error) {
	revision, err := s.Bus.UpdateSlot(ctx, slot, last)
	return revision, slotError(err)
}

func (s liveStore) DeleteSlot(ctx context.Context, slot *schema.Slot, last uint64) error {
	return slotError(s.Bus.DeleteSlot(ctx, slot, last))
}

func slotError(err error) error {
	if errors.Is(err, bus.ErrSlotTaken) {
		return fmt.Errorf("%w: %w", session.ErrSlotTaken, err)
	}
	return err
}

type livePublish struct{ *bus.Publish }

func (p livePublish) Wait(ctx context.Context) error {
	_, err := p.Publish.Wait(ctx)
	return err
}
