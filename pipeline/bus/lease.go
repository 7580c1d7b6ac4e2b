package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// leaseTTL is the lifetime of a lease that is not renewed: the time after the death of a
	// process until another one continues its work.
	leaseTTL = 10 * time.Second
	// leaseRenew is the interval of renewals.
	leaseRenew = leaseTTL / 4
	// leaseSafe is the time after the last renewal for which the holder relies on the lease. It
	// gives up before the server does.
	leaseSafe = leaseTTL * 3 / 4
)

// ErrLeaseLost is the cause of ending work whose lease another process has, or may have.
var ErrLeaseLost = errors.New("another process has taken over this work")

// Lease is the right to do a piece of work, which one process holds at a time, together with the
// position of the work.
//
// It cannot prevent two processes from working at the same time for a moment: one that was
// suspended and resumes does not know yet that its lease has expired. But such a process cannot
// move the position, which is checked by revision; so a handover repeats work, and never skips any.
type Lease struct {
	bus      *Bus
	name     string
	ctx      context.Context
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when renew has ended
	held     uint64        // revision of the lease's key; only used by renew until done
	progress Progress
	revision uint64 // of the position's key
	epoch    uint64 // revision written by takePosition: later holders have a higher one
	asked    sync.Once
	wanted   chan struct{} // closed by asked
}

// createBucket creates a bucket. The revisions of the leases bucket start above those of any
// earlier one, which was lost with its server: a holder of an old lease cannot renew it in the new
// bucket.
func (b *Bus) createBucket(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	if c.Bucket != schema.BucketLeases {
		return b.js.CreateKeyValue(ctx, c)
	}
	// The stream that CreateKeyValue would create, with FirstSeq, for which it has no setting.
	_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "KV_" + c.Bucket, Description: c.Description, Subjects: []string{"$KV." + c.Bucket + ".>"}, FirstSeq: uint64(time.Now().UnixMicro()),
		MaxMsgsPerSubject: 1, MaxAge: c.TTL, Duplicates: c.TTL, Storage: c.Storage, Replicas: c.Replicas,
		AllowRollup: true, DenyDelete: true, AllowDirect: true, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return nil, err
	}
	return b.js.KeyValue(ctx, c.Bucket)
}

// Acquire waits until this process has the lease for a piece of work. If several processes want the
// same kind of work (see roster), each obtains its share of the leases.
func (b *Bus) Acquire(ctx context.Context, name string) (*Lease, error) {
	b.roster.join(name)
	held, since, err := b.waitForLease(ctx, name)
	if err != nil {
		b.roster.quit(name)
		return nil, err
	}
	l := &Lease{bus: b, name: name, held: held, done: make(chan struct{}), wanted: make(chan struct{})}
	b.roster.add(l)
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go l.renew(since) // ends with the lease
	if err := l.takePosition(ctx); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// waitForLease returns the revision of the lease's key, and a time before the lease began.
func (b *Bus) waitForLease(ctx context.Context, name string) (revision uint64, since time.Time, err error) {
	// The watch reports that the holder has released the lease; the ticker finds out that it has
	// died.
	watch, err := b.leases.Watch(ctx, name, jetstream.UpdatesOnly())
	if ctx.Err() != nil {
		return 0, time.Time{}, context.Cause(ctx)
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("wait for the lease %s: %w", name, err)
	}
	defer watch.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var free time.Time // since when it is free and left to others; zero while it is held
	for {
		since := time.Now()
		if b.roster.claim(name, !free.IsZero() && since.Sub(free) > unclaimedAfter) {
			// Not cancelled by ctx: a lease that was granted without being noticed would block the
			// work until it expires.
			asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
			revision, err := b.leases.Create(asking, name, []byte(b.owner))
			cancel()
			if err == nil {
				return revision, since, nil
			}
			b.roster.releaseClaim(name)
			if !conflicts(err) && ctx.Err() == nil {
				return 0, time.Time{}, fmt.Errorf("take the lease %s: %w", name, err)
			}
			free = time.Time{}
		} else if _, err := b.leases.Get(ctx, name); !errors.Is(err, jetstream.ErrKeyNotFound) {
			free = time.Time{}
		} else if free.IsZero() {
			free = since
		}
		select {
		case <-watch.Updates():
		case <-tick.C:
		case <-ctx.Done():
			return 0, time.Time{}, context.Cause(ctx)
		}
	}
}

// takePosition reads the position and writes it again, which prevents all previous holders of the
// lease from writing it.
//
// If the disk of an embedded server is full, it does not write: no other process can have held that
// lease.
func (l *Lease) takePosition(ctx context.Context) error {
	full := l.bus.disk.admit(forBookkeeping, 0) != nil
	for {
		entry, err := l.bus.positions.Get(ctx, l.name)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			if full {
				return nil
			}
			l.revision, err = l.bus.positions.Create(ctx, l.name, l.progress.append(nil))
		} else if err == nil {
			if l.progress, err = parseProgress(entry.Value()); err != nil {
				return fmt.Errorf("read the position of %s: %w", l.name, err)
			}
			if l.revision, l.epoch = entry.Revision(), entry.Revision(); full {
				return nil
			}
			l.revision, err = l.bus.positions.Update(ctx, l.name, entry.Value(), entry.Revision())
		}
		if err == nil {
			l.epoch = l.revision
			return nil
		}
		if !conflicts(err) {
			return fmt.Errorf("take over the position of %s: %w", l.name, err)
		}
		// The previous holder has just moved it.
	}
}

// renew keeps the lease renewed; its last renewal was at the time renewed or later.
func (l *Lease) renew(renewed time.Time) {
	defer close(l.done)
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		// Not cancelled by releasing the lease: Release must know the current revision of the key.
		ctx, cancel := context.WithDeadline(context.WithoutCancel(l.ctx), renewed.Add(leaseSafe))
		asked := time.Now()
		revision, err := l.bus.leases.Update(ctx, l.name, []byte(l.bus.owner), l.held)
		cancel()
		switch {
		case err == nil:
			l.held, renewed = revision, asked
		case conflicts(err), time.Since(renewed) >= leaseSafe:
			l.cancel(ErrLeaseLost)
			return
		}
	}
}

// Within returns a context that ends with ctx, with cancel, or with the lease; in the last case,
// its cause is ErrLeaseLost.
func (l *Lease) Within(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc) {
	ctx, cancelled := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancelled(context.Cause(l.ctx)) })
	return ctx, func(cause error) { stop(); cancelled(cause) }
}

// Handover is closed when another process is to continue the work: the holder should then reach a
// suitable point soon, save the position and release the lease. Until then it remains the holder.
func (l *Lease) Handover() <-chan struct{} { return l.wanted }

func (l *Lease) requestHandover() { l.asked.Do(func() { close(l.wanted) }) }

// Position returns the sequence of the last processed message, 0 at first.
func (l *Lease) Position() uint64 { return l.progress.Sequence }

// Progress returns the complete saved progress of the work.
func (l *Lease) Progress() Progress { return l.progress }

// Save moves the position to a message. It fails with ErrLeaseLost if another process has taken
// over, and with ErrFull if it can't be stored now: the position is then unchanged, and the work
// can continue.
func (l *Lease) Save(ctx context.Context, sequence uint64) error {
	p := l.progress
	p.Sequence = sequence
	p.Reached = max(p.Reached, sequence)
	return l.SaveProgress(ctx, p)
}

// Epoch returns the number of this tenure of the lease, which is higher than those of all earlier
// ones.
func (l *Lease) Epoch() uint64 { return l.epoch }

// Abandon moves the position to sequence and commits the pending gaps of this tenure up to there,
// in one write. Its errors are those of [Lease.Save].
func (l *Lease) Abandon(ctx context.Context, sequence uint64) error {
	p := l.progress
	p.Sequence = sequence
	p.Reached = max(p.Reached, sequence)
	p.Abandoned = p.Abandoned.with(l.epoch, sequence)
	return l.SaveProgress(ctx, p)
}

// Rewind moves the position according to a rewind, and records that the rewind was applied.
func (l *Lease) Rewind(ctx context.Context, r *schema.Rewind) error {
	p := l.progress
	p.Sequence, p.Rewind, p.DeliveredAhead = r.After, r.ID, nil
	p.Reached = max(p.Reached, r.After)
	return l.SaveProgress(ctx, p)
}

// SaveProgress is Save for the complete progress.
func (l *Lease) SaveProgress(ctx context.Context, p Progress) error {
	if err := l.bus.disk.admit(forBookkeeping, 0); err != nil {
		return fmt.Errorf("save the position of %s: %w", l.name, err)
	}
	saving, cancel := withGrace(ctx)
	defer cancel()
	revision, err := l.bus.positions.Update(saving, l.name, p.append(nil), l.revision)
	if conflicts(err) {
		l.cancel(ErrLeaseLost)
		return fmt.Errorf("save the position of %s: %w", l.name, ErrLeaseLost)
	}
	if err != nil {
		return fmt.Errorf("save the position of %s: %w", l.name, err)
	}
	l.progress, l.revision = p, revision
	return nil
}

// gracePeriod is the time for which a write in progress may continue after its context is done.
const gracePeriod = time.Second

// withGrace returns a context that ends gracePeriod after ctx. If a position is saved in this time,
// its revision is known, which the next save requires.
func withGrace(ctx context.Context) (_ context.Context, cancel func()) {
	grace, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(gracePeriod, func() { end(context.Cause(ctx)) }) })
	return grace, func() { stop(); end(nil) }
}

// Release releases the lease, so that another process can take it at once.
func (l *Lease) Release() {
	lost := errors.Is(context.Cause(l.ctx), ErrLeaseLost)
	l.cancel(nil)
	<-l.done
	l.bus.roster.remove(l)
	l.bus.roster.releaseClaim(l.name)
	l.bus.roster.quit(l.name)
	if !lost {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), requestTimeout)
		defer cancel()
		// If it fails, the lease expires a little later.
		_ = l.bus.leases.Delete(ctx, l.name, jetstream.LastRevision(l.held))
	}
}
