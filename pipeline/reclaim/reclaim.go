// Package reclaim removes delivered messages from a stream that is nearly full, operation by
// operation and the oldest first. The disk of an embedded server is relieved in the same way.
//
// Which messages are delivered depends on the stream, and the owner of a [Reclaimer] decides it: a
// chunk on TTY when everything in it is on LOGS, a segment on LOGS when all drains have it. The
// last message of an operation that has not ended always stays.
package reclaim

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/measure"
)

const (
	// maxInterval and minInterval bound how often a stream is checked. In between, the interval is
	// the time in which maxFillRate bytes a second, more than is ever written, would fill it.
	maxInterval, minInterval = 2 * time.Second, 50 * time.Millisecond
	maxFillRate              = 256 << 20
	// RetryInterval is the interval while nothing can be removed from a full stream, or its usage is
	// unknown.
	RetryInterval = time.Second
	// rounds is the number of parts of a stream, the oldest first, that are searched for delivered
	// messages.
	rounds = 32
	// compactAfter is the time after a removal until the disk is checked again: NATS compacts its
	// files every ten seconds.
	compactAfter = 12 * time.Second
	// refusedInterval is the time between two reports of a missing permission.
	refusedInterval = time.Hour
)

// PurgedMessages returns the counter of removals, by stream, which the reclaimers of all streams
// share.
func PurgedMessages(r prometheus.Registerer) *prometheus.CounterVec {
	return measure.SharedCounter(r, "stream_purges_total",
		"Removals of delivered data of an operation from a stream that was nearly full.", "stream")
}

// A Reclaimer removes delivered messages from one stream. All fields are required.
type Reclaimer struct {
	Bus    *bus.Bus
	Stream string
	// Filter returns the filter that matches the messages of a partition.
	Filter func(partition int) string
	// Needed returns the sequence of the first message of a partition that is still needed, where end
	// is the sequence of the stream's last message.
	Needed func(ctx context.Context, partition int, end uint64) (uint64, error)
	// Ended reports whether a message is the last of its operation.
	Ended  func(data []byte) bool
	Purged prometheus.Counter // of the stream: see PurgedMessages
	Log    *slog.Logger

	compacting time.Time // until when removed messages may still be on the disk; of Run's goroutine
}

// Run removes delivered messages whenever the stream is nearly full, until ctx is done.
func (r *Reclaimer) Run(ctx context.Context) {
	var refused time.Time // when a missing permission was reported
	for {
		wait, err := r.Reclaim(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case bus.IsRefused(err):
			if time.Since(refused) > refusedInterval {
				refused = time.Now()
				r.Log.Warn("no permission to remove delivered data from a stream that is nearly full", "stream", r.Stream, "error", err)
			}
		case err != nil:
			r.Log.Warn("failed to remove delivered data from a stream that is nearly full", "stream", r.Stream, "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Reclaim checks the stream once, and returns after how long to check it again.
func (r *Reclaimer) Reclaim(ctx context.Context) (wait time.Duration, err error) {
	need, usage, err := r.Bus.Scarce(ctx, r.Stream)
	if err != nil {
		return RetryInterval, err
	}
	onDisk := !usage.Scarce()
	if need > 0 && onDisk && time.Now().Before(r.compacting) {
		return RetryInterval, nil
	}
	if need == 0 {
		full := time.Duration(float64(r.Bus.Headroom(usage)) / maxFillRate * float64(time.Second))
		return min(max(full, minInterval), maxInterval), nil
	}
	freed, err := r.Remove(ctx, need, usage)
	if err != nil || freed == 0 {
		return RetryInterval, err
	}
	if onDisk {
		r.compacting = time.Now().Add(compactAfter)
	}
	return minInterval, r.Bus.SettlePurge(r.Stream)
}

// Remove removes delivered messages of need bytes, the oldest first, or as many as there are. It
// returns the bytes of those removed, less those written meanwhile.
func (r *Reclaimer) Remove(ctx context.Context, need uint64, usage bus.Usage) (freed uint64, err error) {
	limits := make([]uint64, r.Bus.Partitions()) // first sequence that is needed
	last := uint64(0)
	for p := range limits {
		if limits[p], err = r.Needed(ctx, p, usage.Last); err != nil {
			return 0, err
		}
		last = max(last, limits[p])
	}
	before := usage.Bytes
	// If all messages had the same size, the first step would free the bytes that are needed.
	step := max((usage.Last-usage.First+1)/rounds, uint64(float64(usage.Last-usage.First+1)*float64(need)/float64(usage.Bytes)), 1)
	for from := usage.First; from < last && freed < need; from += step {
		removed := uint64(0)
		for p := range limits {
			n, err := r.removeRange(ctx, p, from, min(from+step, limits[p]))
			if err != nil {
				return freed, err
			}
			removed += n
		}
		if removed == 0 {
			continue
		}
		now, err := r.Bus.Usage(ctx, r.Stream)
		if err != nil {
			return freed, err
		}
		freed = before - min(now.Bytes, before)
		r.Purged.Add(float64(removed))
	}
	if freed > 0 {
		r.Log.Info("removed the oldest delivered data from a stream that was nearly full", "stream", r.Stream, "bytes", freed)
	}
	return freed, nil
}

// removeRange removes the messages of a partition from one sequence to before another, one
// operation after the other, and returns the number of removals.
func (r *Reclaimer) removeRange(ctx context.Context, partition int, from, before uint64) (removed uint64, err error) {
	for from < before {
		m, ok, err := r.Bus.First(ctx, r.Stream, []string{r.Filter(partition)}, from-1)
		if err != nil || !ok || m.Sequence >= before {
			return removed, err
		}
		from = m.Sequence + 1
		last, ok, err := r.Bus.Last(ctx, r.Stream, m.Subject)
		if err != nil {
			return removed, err
		}
		if !ok {
			continue // removed meanwhile
		}
		until := before
		if !r.Ended(last.Data) {
			until = min(until, last.Sequence)
		}
		if m.Sequence >= until {
			continue
		}
		if err := r.Bus.Purge(ctx, r.Stream, m.Subject, until); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
