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
	// leaseTTL is how long a lease lasts that is not renewed: how long after the death of a process
	// another goes on with its work.
	leaseTTL = 10 * time.Second
	// leaseRenew is how often it is renewed.
	leaseRenew = leaseTTL / 4
	// leaseSafe is how long after the last renewal the holder still counts on it. It gives up before
	// the server does.
	leaseSafe = leaseTTL * 3 / 4
)

// ErrLeaseLost is the cause with which work ends whose lease another process has, or may have.
var ErrLeaseLost = errors.New("another process has taken over this work")

// A Lease is the right to do a piece of work, which one process has at a time, with how far the
// work has come.
//
// It cannot keep two processes from working at the same time for a moment: one that was stopped and
// goes on does not know yet that its lease is over. What it can't do then is to move the position,
// which is checked by revision; so a handover repeats, and never skips.
type Lease struct {
	bus      *Bus
	name     string
	ctx      context.Context
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when renewing has ended
	held     uint64        // revision of the lease's key; of renew alone until done
	progress Progress
	revision uint64 // of the position's key
	epoch    uint64 // the revision that takePosition wrote: later holders have a higher one
	asked    sync.Once
	wanted   chan struct{} // closed by asked
}

// createBucket makes a bucket. The revisions of that of the leases begin where those of none before
// it, which ended with its server, can have come to: who had a lease there can't renew it here.
func (b *Bus) createBucket(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	if c.Bucket != schema.BucketLeases {
		return b.js.CreateKeyValue(ctx, c)
	}
	// It is the stream that CreateKeyValue makes, with FirstSeq, for which that has no setting.
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

// Acquire waits until this process has the lease on a piece of work. Where several processes want
// the same kind of work (see roster), it has its share of the leases.
func (b *Bus) Acquire(ctx context.Context, name string) (*Lease, error) {
	b.roster.want(name)
	held, since, err := b.waitForLease(ctx, name)
	if err != nil {
		b.roster.unwant(name)
		return nil, err
	}
	l := &Lease{bus: b, name: name, held: held, done: make(chan struct{}), wanted: make(chan struct{})}
	b.roster.has(l)
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go l.renew(since) // ends with the lease
	if err := l.takePosition(ctx); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// waitForLease gives the revision of the lease's key, and a time at which the lease had not begun
// yet.
func (b *Bus) waitForLease(ctx context.Context, name string) (revision uint64, since time.Time, err error) {
	// The watch tells when the holder lets go; the ticker when it has died, which nothing tells.
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
	var free time.Time // since when it is nobody's, and left to others; zero while it is not
	for {
		since := time.Now()
		if b.roster.take(name, !free.IsZero() && since.Sub(free) > unclaimedAfter) {
			// Even where ctx ends: a lease that was given, and that nobody waited for, would stand in the
			// way until its time is over.
			asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
			revision, err := b.leases.Create(asking, name, []byte(b.owner))
			cancel()
			if err == nil {
				return revision, since, nil
			}
			b.roster.untake(name)
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

// takePosition reads the position, and writes it again, after which nobody who held the lease
// before can.
//
// Where the disk of an embedded server is full it does not write: no other process can have held
// that lease.
func (l *Lease) takePosition(ctx context.Context) error {
	full := l.bus.disk.room(forBookkeeping, 0) != nil
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
		// The one before has just moved it.
	}
}

// renew renews the lease, which was renewed last at the time renewed or later.
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
		// Even where the lease is let go: of a key that was changed without anybody hearing of it,
		// Release does not know the revision.
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

// Within gives a context that ends with ctx, with cancel, or with the lease, whose cause is then
// ErrLeaseLost.
func (l *Lease) Within(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc) {
	ctx, cancelled := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancelled(context.Cause(l.ctx)) })
	return ctx, func(cause error) { stop(); cancelled(cause) }
}

// Wanted is closed when another process is to go on with the work: whoever has the lease then comes
// to a good place soon, saves the position and releases it. Until then it stays this process's.
func (l *Lease) Wanted() <-chan struct{} { return l.wanted }

func (l *Lease) askFor() { l.asked.Do(func() { close(l.wanted) }) }

// Position is how far the work has come: the sequence of the last message that it is done with, 0
// at first.
func (l *Lease) Position() uint64 { return l.progress.Sequence }

// Progress is all that is known of how far the work has come.
func (l *Lease) Progress() Progress { return l.progress }

// Save moves the position to a message. It fails with ErrLeaseLost where another process has taken
// over, and with ErrFull where it can't be kept now: then it is as it was, and the work can go on.
func (l *Lease) Save(ctx context.Context, sequence uint64) error {
	p := l.progress
	p.Sequence = sequence
	p.Reached = max(p.Reached, sequence)
	return l.SaveProgress(ctx, p)
}

// Epoch returns the number of this tenure of the lease, which is higher than those of all before.
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

// Rewind moves the position to where a rewind wants it, and notes that this one has been followed.
func (l *Lease) Rewind(ctx context.Context, r *schema.Rewind) error {
	p := l.progress
	p.Sequence, p.Rewind, p.Beyond = r.After, r.ID, nil
	p.Reached = max(p.Reached, r.After)
	return l.SaveProgress(ctx, p)
}

// SaveProgress is Save of all that belongs to the position.
func (l *Lease) SaveProgress(ctx context.Context, p Progress) error {
	if err := l.bus.disk.room(forBookkeeping, 0); err != nil {
		return fmt.Errorf("save the position of %s: %w", l.name, err)
	}
	saving, cancel := linger(ctx)
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

// lingers is how long what is under way may go on where nobody wants it any more.
const lingers = time.Second

// linger gives a context that ends a moment after ctx: of a position that is saved by then, the
// revision is known, without which the next one can't be.
func linger(ctx context.Context) (_ context.Context, cancel func()) {
	lingering, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lingers, func() { end(context.Cause(ctx)) }) })
	return lingering, func() { stop(); end(nil) }
}

// Release lets another process have the work at once.
func (l *Lease) Release() {
	lost := errors.Is(context.Cause(l.ctx), ErrLeaseLost)
	l.cancel(nil)
	<-l.done
	l.bus.roster.hasNot(l)
	l.bus.roster.untake(l.name)
	l.bus.roster.unwant(l.name)
	if !lost {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), requestTimeout)
		defer cancel()
		// If it fails, the lease ends by itself a little later.
		_ = l.bus.leases.Delete(ctx, l.name, jetstream.LastRevision(l.held))
	}
}
