package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

// Progress is the progress of a reader of a stream.
type Progress struct {
	// Sequence is the sequence of the last message that the reader has finished; 0 at first.
	Sequence uint64
	// Rewind is the ID of the last applied rewind, or "".
	Rewind string
	// Reached is the highest value that Sequence has had: later messages were never delivered.
	Reached uint64
	// Safe is the time until which the stream keeps everything after Reached, as far as the reader
	// knew; zero if unknown.
	Safe time.Time
	// Match holds the filters of the reader, sorted and separated by commas; "" if unknown.
	Match string
	// DeliveredAhead lists the messages delivered ahead of Sequence, completely or in part, in order:
	// at most the first maxDeliveredAhead. It is never modified in place.
	DeliveredAhead []Part
	// Abandoned holds the sequences up to which the last tenures abandoned undelivered segments.
	Abandoned Abandonments
}

// Abandonments lists, in the order of their epochs, the last [maxAbandonments] tenures of a lease
// that abandoned segments. A list is never modified in place.
type Abandonments []Abandonment

// Abandonment is the sequence up to which the tenure with an epoch has abandoned segments.
type Abandonment struct{ Epoch, Sequence uint64 }

// maxAbandonments limits the list. A note of pending gaps is settled by the next tenure, so one
// entry suffices unless several tenures in a row stop at the same place.
const maxAbandonments = 8

// Committed reports whether the pending gaps of a tenure, up to a sequence, count. Those of a
// tenure older than the list do: an unnecessary gap is better than a missing one.
func (a Abandonments) Committed(epoch, until uint64) bool {
	for _, e := range a {
		if e.Epoch == epoch {
			return until <= e.Sequence
		}
	}
	return len(a) == maxAbandonments && epoch < a[0].Epoch
}

func (a Abandonments) with(epoch, sequence uint64) Abandonments {
	a = slices.Clone(a)
	if n := len(a); n > 0 && a[n-1].Epoch == epoch {
		a[n-1].Sequence = sequence
		return a
	}
	if a = append(a, Abandonment{epoch, sequence}); len(a) > maxAbandonments {
		a = a[1:]
	}
	return a
}

// Part is the number of records of a message that the reader has finished.
type Part struct {
	Sequence uint64
	Records  int // from the first one on
}

// maxDeliveredAhead limits the length of DeliveredAhead in a saved position.
const maxDeliveredAhead = 1024

// append appends the form that is stored in the bucket, with fields separated by spaces: the
// sequence; the rewind; the highest sequence; the time, in milliseconds since 1970 UTC; the
// filters; the messages of DeliveredAhead, as pairs of their distance from the sequence and the
// number of records; the abandonments, as pairs of epoch and sequence. Pairs have a colon inside
// and commas in between. A field without a value is "-", and such fields are omitted at the end.
func (p Progress) append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, p.Sequence, 10)
	rest := []string{"-", "-", "-", "-", "-", "-"}
	if p.Rewind != "" {
		rest[0] = p.Rewind
	}
	if p.Reached > p.Sequence {
		rest[1] = strconv.FormatUint(p.Reached, 10)
	}
	if !p.Safe.IsZero() {
		rest[2] = strconv.FormatInt(p.Safe.UnixMilli(), 10)
	}
	if p.Match != "" {
		rest[3] = p.Match
	}
	var ahead []byte
	for n, part := range p.DeliveredAhead {
		if part.Sequence > p.Sequence && n < maxDeliveredAhead {
			ahead = fmt.Appendf(ahead, "%d:%d,", part.Sequence-p.Sequence, part.Records)
		}
	}
	if len(ahead) > 0 {
		rest[4] = string(ahead[:len(ahead)-1])
	}
	var abandoned []byte
	for _, a := range p.Abandoned {
		abandoned = fmt.Appendf(abandoned, "%d:%d,", a.Epoch, a.Sequence)
	}
	if len(abandoned) > 0 {
		rest[5] = string(abandoned[:len(abandoned)-1])
	}
	for len(rest) > 0 && rest[len(rest)-1] == "-" {
		rest = rest[:len(rest)-1]
	}
	for _, s := range rest {
		dst = append(append(dst, ' '), s...)
	}
	return dst
}

func parseProgress(value []byte) (p Progress, err error) {
	fields := strings.Split(string(value), " ")
	if p.Sequence, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return p, schema.ErrCorrupt
	}
	p.Reached = p.Sequence
	for i, s := range fields[1:] {
		if s == "-" {
			continue
		}
		switch i {
		case 0:
			p.Rewind = s
		case 1:
			p.Reached, err = strconv.ParseUint(s, 10, 64)
		case 2:
			var milliseconds int64
			milliseconds, err = strconv.ParseInt(s, 10, 64)
			p.Safe = time.UnixMilli(milliseconds)
		case 3:
			p.Match = s
		case 4:
			for part := range strings.SplitSeq(s, ",") {
				var after uint64
				var records int
				if _, err = fmt.Sscanf(part, "%d:%d", &after, &records); err != nil {
					break
				}
				p.DeliveredAhead = append(p.DeliveredAhead, Part{p.Sequence + after, records})
			}
		case 5:
			for abandoned := range strings.SplitSeq(s, ",") {
				var a Abandonment
				if _, err = fmt.Sscanf(abandoned, "%d:%d", &a.Epoch, &a.Sequence); err != nil {
					break
				}
				p.Abandoned = append(p.Abandoned, a)
			}
		}
		if err != nil {
			return p, schema.ErrCorrupt
		}
	}
	return p, nil
}

// Progress returns the saved progress of a piece of work; ok is false if it has not started.
func (b *Bus) Progress(ctx context.Context, name string) (p Progress, ok bool, err error) {
	entry, err := b.positions.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, false, nil
	}
	if err == nil {
		p, err = parseProgress(entry.Value())
	}
	if err != nil {
		return p, false, fmt.Errorf("read the position of %s: %w", name, err)
	}
	return p, true, nil
}
