package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A Letter is a dead letter with its number, and the record in it.
type Letter struct {
	Number uint64 `json:"number"`
	// PHI means that the record may hold protected health information. Lists omit it.
	PHI bool `json:"phi,omitempty"`
	*schema.DeadLetter
}

// A LetterFilter selects dead letters. Empty fields match any.
type LetterFilter struct {
	Drain        string
	Since, Until time.Time // of the refusal
}

// DeadLetters returns the selected dead letters, the oldest first and at most max of them, without
// the records.
func (o *Operator) DeadLetters(ctx context.Context, f LetterFilter, max int) ([]Letter, error) {
	letters := []Letter{}
	enough := errors.New("enough")
	err := o.Bus.DeadLetters(ctx, f.Drain, func(number uint64, l *schema.DeadLetter) error {
		if !within(l.Time, f.Since, f.Until) {
			return nil
		}
		l.Segment = nil // session content is returned only for a single letter
		letters = append(letters, Letter{Number: number, DeadLetter: l})
		if len(letters) == max {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return letters, nil
}

// DeadLetter returns one dead letter, and the JSON of its record.
func (o *Operator) DeadLetter(ctx context.Context, number uint64) (Letter, []byte, error) {
	l, entry, err := o.open(ctx, number)
	if err != nil {
		return Letter{}, nil, err
	}
	var encoder schema.Encoder
	record, err := encoder.AppendRecord(nil, entry.Operation, entry.Record)
	return Letter{number, entry.Operation.PHI, l}, record, err
}

// open returns a dead letter and its record.
func (o *Operator) open(ctx context.Context, number uint64) (*schema.DeadLetter, sinks.Entry, error) {
	l, err := o.Bus.DeadLetter(ctx, number)
	if err != nil {
		return nil, sinks.Entry{}, err
	}
	var decoder schema.Decoder
	segment, err := decoder.Segment(l.Segment)
	if err != nil {
		return nil, sinks.Entry{}, err
	}
	return l, sinks.Entry{Operation: segment.Operation, Record: &segment.Records[0]}, nil
}

// Redeliver writes a dead letter's record to its drain again, and removes the letter when the drain
// has accepted it. Like the router, it sends nothing that may be protected health information to a
// drain without an agreement.
func (o *Operator) Redeliver(ctx context.Context, number uint64) (err error) {
	letter, entry, err := o.open(ctx, number)
	if err != nil {
		return err
	}
	d, err := o.find(letter.Drain)
	if err != nil {
		return err
	}
	if entry.Operation.PHI && !d.PHI {
		return fmt.Errorf("drain %s: %w: give the drain the agreement (agreements: [baa]), or discard the letter", d.Name, ErrNoAgreement)
	}
	sink, err := d.Open()
	if err != nil {
		return fmt.Errorf("drain %s: %w", d.Name, err)
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	if err := sink.Write(ctx, []sinks.Entry{entry}); err != nil {
		return fmt.Errorf("redeliver to drain %s: %w", d.Name, err)
	}
	return o.Bus.DeleteDeadLetter(ctx, number)
}

// Discard removes a dead letter: the drain never receives its record.
func (o *Operator) Discard(ctx context.Context, number uint64) error {
	return o.Bus.DeleteDeadLetter(ctx, number)
}
