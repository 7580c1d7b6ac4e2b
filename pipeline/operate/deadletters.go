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
	Drain, Reason string
	Since, Until  time.Time // of the refusal
	After, Last   uint64    // numbers: After is excluded, Last included
}

// DeadLetters returns the selected dead letters, the oldest first and at most max of them, without
// the records.
func (o *Operator) DeadLetters(ctx context.Context, f LetterFilter, max int) ([]Letter, error) {
	letters := []Letter{}
	_, err := o.each(ctx, f, time.Time{}, func(number uint64, l *schema.DeadLetter) (more bool) {
		l.Segment = nil // session content is returned only for a single letter
		letters = append(letters, Letter{Number: number, DeadLetter: l})
		return len(letters) < max
	})
	if err != nil {
		return nil, err
	}
	return letters, nil
}

// each calls do with the selected dead letters, the oldest first, until do returns false or the
// time has come; the zero time never comes. It returns the number of the last one that it has read
// if there may be more, and otherwise 0.
func (o *Operator) each(ctx context.Context, f LetterFilter, until time.Time, do func(number uint64, l *schema.DeadLetter) (more bool)) (next uint64, err error) {
	enough := errors.New("enough")
	err = o.Bus.DeadLetters(ctx, f.Drain, f.After, func(number uint64, l *schema.DeadLetter) error {
		if f.Last != 0 && number > f.Last {
			next = 0
			return enough
		}
		next = number
		selected := within(l.Time, f.Since, f.Until) && (f.Reason == "" || f.Reason == l.Reason)
		if selected && !do(number, l) || !until.IsZero() && !time.Now().Before(until) {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		return next, nil
	}
	return 0, err
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
	r := redeliverer{operator: o}
	defer func() { err = errors.Join(err, r.close()) }()
	return r.redeliver(ctx, number)
}

// A redeliverer writes dead letters to their drains, with one sink for each drain.
type redeliverer struct {
	operator *Operator
	sinks    map[string]sinks.Sink // by drain
}

// redeliver is [Operator.Redeliver].
func (r *redeliverer) redeliver(ctx context.Context, number uint64) error {
	letter, entry, err := r.operator.open(ctx, number)
	if err != nil {
		return err
	}
	d, err := r.operator.find(letter.Drain)
	if err != nil {
		return err
	}
	if entry.Operation.PHI && !d.PHI {
		return fmt.Errorf("drain %s: %w: give the drain the agreement (agreements: [baa]), or discard the letter", d.Name, ErrNoAgreement)
	}
	sink := r.sinks[d.Name]
	if sink == nil {
		if sink, err = d.Open(); err != nil {
			return fmt.Errorf("drain %s: %w", d.Name, err)
		}
		if r.sinks == nil {
			r.sinks = make(map[string]sinks.Sink)
		}
		r.sinks[d.Name] = sink
	}
	if err := sink.Write(ctx, []sinks.Entry{entry}); err != nil {
		return fmt.Errorf("redeliver to drain %s: %w", d.Name, err)
	}
	return r.operator.Bus.DeleteDeadLetter(ctx, number)
}

func (r *redeliverer) close() (err error) {
	for _, sink := range r.sinks {
		err = errors.Join(err, sink.Close())
	}
	return err
}

// Discard removes a dead letter: the drain never receives its record.
func (o *Operator) Discard(ctx context.Context, number uint64) error {
	return o.Bus.DeleteDeadLetter(ctx, number)
}
