package bus

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrLeaseWanted is for work that ends since another process is to go on with it: see
// [Lease.Wanted].
var ErrLeaseWanted = errors.New("another process is to go on with this work")

const (
	// memberToken begins the last token of the key under which a process tells that it wants leases of
	// a kind, where that of a lease has the partition: who may have the leases may tell that it wants
	// them.
	memberToken = "member-"
	// patientTicks is for how many renewals a process has too many leases before it gives some away:
	// who starts, or is about to be missed, shall not make work wander.
	patientTicks = 4
	// unclaimedAfter is how long a lease may be nobody's before a process takes it that has its share
	// already: whoever it was left to does not come.
	unclaimedAfter = 2 * leaseRenew
)

// A roster shares leases out among the processes that want them.
//
// The leases of one kind (those whose names differ in what is behind the last dot) are as many as
// there are partitions. Each process tells, under a key of its own, that it wants a kind, and takes
// its share at most: the number of partitions divided by that of the processes, rounded up. One
// that has more, since another has come, gives what is too much away, when its work comes to a good
// place for that.
//
// Processes can be at odds for some seconds about how many they are. Then some leases are nobody's
// for that long, or one process has more than others: never do two have one, which is for the
// leases themselves to see to.
type roster struct {
	bus   *Bus
	log   *slog.Logger
	alone bool // there are no other processes: no work is left to them

	mu       sync.Mutex // guards what follows
	kinds    map[string]*kind
	families map[string]bool // that are listened to: see family
	ctx      context.Context // of listening; nil before start
}

// A kind is the leases of one kind, as this process sees them. It is guarded by its roster's mu.
type kind struct {
	wanted int                  // leases that this process has, or waits for
	taken  int                  // those that it has, or tries to take
	leases map[*Lease]bool      // those that it has
	others map[string]time.Time // when each other process told last that it wants some, by the process
	over   int                  // for how many renewals it has had too many
}

func newRoster(b *Bus, alone bool, log *slog.Logger) *roster {
	return &roster{bus: b, alone: alone, log: log, kinds: make(map[string]*kind), families: make(map[string]bool)}
}

// kindOf is the kind of a lease, by its name.
func kindOf(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// family is the keys of all kinds that are like this one: those of all drains, or those of
// enriching.
func family(kind string) string {
	tokens := strings.Split(kind, ".")
	for i := 1; i < len(tokens); i++ {
		tokens[i] = "*"
	}
	return strings.Join(append(tokens, "*"), ".")
}

// start says that there are others, with whom it shares until ctx is done.
func (r *roster) start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
}

// kind gives what is known of a kind. mu is held.
func (r *roster) kind(name string) *kind {
	k := r.kinds[name]
	if k == nil {
		k = &kind{leases: make(map[*Lease]bool), others: make(map[string]time.Time)}
		r.kinds[name] = k
	}
	return k
}

// share is how many leases of a kind a process has at most. mu is held.
func (r *roster) share(k *kind, now time.Time) int {
	n := 1
	for _, heard := range k.others {
		if now.Sub(heard) < leaseSafe {
			n++
		}
	}
	return (r.bus.partitions + n - 1) / n
}

// want says that the process waits for a lease, until unwant.
func (r *roster) want(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).wanted++
	if f := family(kindOf(name)); r.ctx != nil && r.ctx.Err() == nil && !r.families[f] {
		r.families[f] = true
		ctx := r.ctx
		r.bus.keeping.Go(func() { r.run(ctx, f) }) // ends with ctx, which Close ends
	}
}

func (r *roster) unwant(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).wanted--
}

// take says whether there is room for one more lease, which then counts as taken. One that is
// unclaimed has room always.
func (r *roster) take(name string, unclaimed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kind(kindOf(name))
	if k.taken >= r.share(k, time.Now()) && !unclaimed && !r.alone {
		return false
	}
	k.taken++
	return true
}

// untake says that a lease that counts as taken is not had.
func (r *roster) untake(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).taken--
}

// has says that a lease that was taken is l, until hasNot.
func (r *roster) has(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(l.name)).leases[l] = true
}

func (r *roster) hasNot(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kind(kindOf(l.name)).leases, l)
}

// run tells what this process wants of a family, and listens to the others, until ctx is done.
func (r *roster) run(ctx context.Context, family string) {
	defer r.leave(family)
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := r.listen(ctx, family, tick.C); err != nil && ctx.Err() == nil {
			r.log.Warn("what other processes do is not known, which is asked again", "error", err)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}

// listen ends with ctx, or when it hears nothing any more.
func (r *roster) listen(ctx context.Context, family string, tick <-chan time.Time) error {
	watch, err := r.bus.leases.Watch(ctx, family)
	if err != nil {
		return err
	}
	defer watch.Stop()
	r.tell(ctx, family)
	told := time.Now() // when this process last heard itself, or had nothing to say
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if entry != nil && r.hear(entry) {
				told = time.Now()
			}
		case <-tick:
			if !r.tell(ctx, family) {
				told = time.Now()
			}
			if time.Since(told) > leaseTTL { // the server may have ended, and the watch with it
				return errors.New("the watch tells nothing")
			}
			r.balance(family, time.Now())
		case <-ctx.Done():
			return nil
		}
	}
}

// tell tells which kinds this process wants. It is false where there are none.
func (r *roster) tell(ctx context.Context, family string) (told bool) {
	for _, name := range r.wanted(family) {
		told = true
		ctx, cancel := context.WithTimeout(ctx, leaseRenew)
		// One that fails is told again by the next, or the process is taken for dead, which costs a
		// handover.
		_, _ = r.bus.leases.Put(ctx, name+"."+memberToken+r.bus.owner, nil)
		cancel()
	}
	return told
}

// leave tells that this process wants nothing any more.
func (r *roster) leave(family string) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseRenew)
	defer cancel()
	for _, name := range r.wanted(family) {
		_ = r.bus.leases.Delete(ctx, name+"."+memberToken+r.bus.owner) // or it is missed after some seconds
	}
}

func (r *roster) wanted(of string) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, k := range r.kinds {
		if k.wanted > 0 && family(name) == of {
			names = append(names, name)
		}
	}
	return names
}

// hear takes note of what a process tells. It is true for this one.
func (r *roster) hear(entry jetstream.KeyValueEntry) bool {
	name, owner, ok := strings.Cut(entry.Key(), "."+memberToken)
	if !ok { // a lease
		return false
	}
	if owner == r.bus.owner {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.kind(name); entry.Operation() == jetstream.KeyValuePut {
		k.others[owner] = time.Now()
	} else {
		delete(k.others, owner)
	}
	return false
}

// balance asks for the leases that are too many.
func (r *roster) balance(of string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, k := range r.kinds {
		if family(name) != of {
			continue
		}
		for owner, heard := range k.others {
			if now.Sub(heard) > 2*leaseTTL {
				delete(k.others, owner)
			}
		}
		excess := len(k.leases) - r.share(k, now)
		if excess <= 0 {
			k.over = 0
			continue
		}
		if k.over++; k.over < patientTicks {
			continue
		}
		k.over = 0
		r.log.Info("some of this process's work goes to another", "work", name, "pieces", excess)
		for l := range k.leases {
			if excess--; excess < 0 {
				break
			}
			l.askFor()
		}
	}
}
