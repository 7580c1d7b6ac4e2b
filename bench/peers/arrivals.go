package peers

import (
	"context"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// arrivals observes the records that arrive at a receiver or at a node.
type arrivals interface {
	// first waits for the first record.
	first(context.Context) (receivers.Counts, error)
	// all waits for all records, or until the sender has stalled.
	all(context.Context) (receivers.Counts, error)
	// exactly compares the records, after the sender has stopped, with the input.
	exactly(context.Context) error
}

type receiverArrivals struct {
	receiver *receivers.Receiver
	totals   corpus.Totals
}

func (a *receiverArrivals) first(ctx context.Context) (receivers.Counts, error) {
	return waitFor(ctx, a.receiver.AwaitFirst)
}

func (a *receiverArrivals) all(ctx context.Context) (receivers.Counts, error) {
	return waitFor(ctx, func() (receivers.Counts, error) { return a.receiver.AwaitSessions(a.totals.Sessions) })
}

func (a *receiverArrivals) exactly(context.Context) error { return a.receiver.Verify(a.totals) }

// waitFor asks a receiver, and returns without its answer when ctx is done.
func waitFor(ctx context.Context, ask func() (receivers.Counts, error)) (got receivers.Counts, err error) {
	done := make(chan struct{})
	go func() { // ends with the answer, or when the receiver ends
		got, err = ask()
		close(done)
	}()
	select {
	case <-done:
		return got, err
	case <-ctx.Done():
		return receivers.Counts{}, context.Cause(ctx)
	}
}

type nodeArrivals struct {
	node           *receivers.Node
	stream, prefix string
	totals         corpus.Totals
}

func (a *nodeArrivals) first(ctx context.Context) (receivers.Counts, error) { return a.until(ctx, 1) }

func (a *nodeArrivals) all(ctx context.Context) (receivers.Counts, error) {
	return a.until(ctx, a.totals.Records)
}

func (a *nodeArrivals) until(ctx context.Context, records int) (receivers.Counts, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	before, since := 0, time.Now()
	for {
		n, err := a.node.Indexed(ctx, a.stream)
		if err != nil {
			return receivers.Counts{}, err
		}
		if n >= records || n == before && time.Since(since) > receivers.Patience {
			return receivers.Counts{Records: n, Ends: a.totals.Records}, nil
		}
		if n != before {
			before, since = n, time.Now()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return receivers.Counts{}, context.Cause(ctx)
		}
	}
}

func (a *nodeArrivals) exactly(ctx context.Context) error {
	return a.node.Verify(ctx, a.stream, a.prefix, a.totals)
}
