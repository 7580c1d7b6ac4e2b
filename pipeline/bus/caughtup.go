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

// endWait limits the wait for a message that should exist.
const endWait = 5 * time.Second

// CaughtUp reports whether no message between the sequences after and end matches one of the
// filters; the message end must exist or have existed. It returns false if it is not certain. It
// overlooks none on a cluster either: one consumer reads the message end after those before it, on
// whichever server.
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

// matches reports whether a filter of package schema, whose only wildcard is "*", matches a
// subject.
func matches(filter, subject string) bool {
	want, got := strings.Split(filter, "."), strings.Split(subject, ".")
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == "*" || w == g })
}
