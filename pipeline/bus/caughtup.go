package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// endWait is how long a message is waited for that should be there.
const endWait = 5 * time.Second

// CaughtUp says whether no message that one of the filters matches stands between two others, of
// which the second is there, or was. It says no where it can't be sure, and on a cluster, too, it
// overlooks none: the second message is read behind those before it by one consumer, whichever
// server that asks.
func (b *Bus) CaughtUp(ctx context.Context, stream string, filters []string, after, end uint64) (bool, error) {
	if end <= after {
		return true, nil
	}
	last, err := b.streams[stream].GetMsg(ctx, end)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read message %d of the stream %s: %w", end, stream, err)
	}
	if slices.ContainsFunc(filters, func(f string) bool { return matches(f, last.Subject) }) {
		return false, nil
	}
	reader, err := b.ReadHeads(ctx, stream, append(slices.Clone(filters), last.Subject), after)
	if err != nil {
		return false, err
	}
	defer reader.Close()
	soon, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	for {
		m, err := reader.Next(soon)
		switch {
		case err != nil && soon.Err() != nil && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, err
		case m.Sequence >= end:
			return true, nil
		case m.Subject != last.Subject:
			return false, nil
		}
	}
}

// matches says whether a filter of schema's, which has "*" and no other wildcard, matches a
// subject.
func matches(filter, subject string) bool {
	want, got := strings.Split(filter, "."), strings.Split(subject, ".")
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == "*" || w == g })
}
