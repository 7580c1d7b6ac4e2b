package drains

import (
	"context"
	"fmt"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// maxInFlight is the maximum number of chunks in flight to the stream.
const maxInFlight = 32

// Fill publishes sessions with at least that many records to the TTY stream. Their chunks take
// turns. keystrokes makes every frame a chunk, as when users only type; otherwise chunks are full.
func Fill(ctx context.Context, b *bus.Bus, key *enrich.Key, seed uint64, sessions, records int, keystrokes bool) (corpus.Totals, error) {
	all := make([]*corpus.Session, sessions)
	for i := range all {
		s, err := corpus.NewSession(key, seed+uint64(i), func(op *schema.Operation) error { return b.CreateOperation(ctx, op) })
		if err != nil {
			return corpus.Totals{}, err
		}
		s.Subject = schema.SubjectTTY(s.Operation, b.Partitions())
		all[i] = s
	}
	var inFlight []*bus.Publish
	f, err := corpus.Play(all, records, keystrokes, func(s *corpus.Session) error {
		data := schema.AppendChunk(nil, &s.Next)
		inFlight = append(inFlight, b.PublishChunk(s.Subject, fmt.Sprintf("%s-%d", s.Operation.ID, s.Next.Ordinal), data))
		if len(inFlight) < maxInFlight {
			return nil
		}
		_, err := inFlight[0].Wait(ctx)
		inFlight = inFlight[1:]
		return err
	}, func(enrich.Segment) error { return nil })
	for _, p := range inFlight {
		if _, e := p.Wait(ctx); err == nil {
			err = e
		}
	}
	return f, err
}
