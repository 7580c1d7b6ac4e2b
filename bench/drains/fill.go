package drains

import (
	"context"
	"fmt"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

const (
	// publishesAhead is how many chunks are under way to the stream at a time.
	publishesAhead = 32
)

// fill publishes sessions to the TTY stream, at least so many records, their chunks in turns.
// keystrokes makes every frame a chunk, as when people type and nothing else goes on; otherwise
// chunks are full.
func Fill(ctx context.Context, b *bus.Bus, key *enrich.Key, seed uint64, sessions, records int, keystrokes bool) (corpus.Filling, error) {
	all := make([]*corpus.Session, sessions)
	for i := range all {
		s, err := corpus.NewSession(key, seed+uint64(i), func(op *schema.Operation) error { return b.CreateOperation(ctx, op) })
		if err != nil {
			return corpus.Filling{}, err
		}
		s.Subject = schema.SubjectTTY(s.Operation, b.Partitions())
		all[i] = s
	}
	var under []*bus.Publish
	f, err := corpus.Play(all, records, keystrokes, func(s *corpus.Session) error {
		data := schema.AppendChunk(nil, &s.Next)
		under = append(under, b.PublishChunk(s.Subject, fmt.Sprintf("%s-%d", s.Operation.ID, s.Next.Ordinal), data))
		if len(under) < publishesAhead {
			return nil
		}
		_, err := under[0].Wait(ctx)
		under = under[1:]
		return err
	}, func(enrich.Segment) error { return nil })
	for _, p := range under {
		if _, e := p.Wait(ctx); err == nil {
			err = e
		}
	}
	return f, err
}
