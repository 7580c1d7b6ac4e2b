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

// ErrHandover is the cause of ending work that another process is to continue: see
// [Lease.Handover].
var ErrHandover = errors.New("another process is to continue this work")

const (
	// memberToken begins the last token of the key under which a process announces that it wants
	// leases of a kind; in the key of a lease, the partition is in this place. So a user with
	// permission for the leases may also announce.
	memberToken = "member-"
	// patientTicks is the number of renewals for which a process may hold too many leases before it
	// hands some over, so that a process that is starting, or is late, does not make work move.
	patientTicks = 4
	// unclaimedAfter is the time for which a lease must be free before a process takes it that has
	// its share already: the process that it was left to does not come.
	unclaimedAfter = 2 * leaseRenew
)

// roster distributes leases among the processes that want them.
//
// The leases of one kind (whose names only differ after the last dot) are as many as there are
// partitions. Each process announces, under a key of its own, that it wants a kind, and takes at
// most its share: the number of partitions divided by the number of processes, rounded up. A
// process that has more, because another one has joined, hands over the excess at the next suitable
// point of its work.
//
// For some seconds, processes can disagree on their number. Meanwhile some leases are free, or one
// process has more than others; but no two processes hold the same one, which the leases themselves
// ensure.
type roster struct {
	bus   *Bus
	log   *slog.Logger
	alone bool // there are no other processes, so no work is left to them

	mu       sync.Mutex // guards what follows
	kinds    map[string]*kind
	families map[string]bool // families with a watch: see family
	ctx      context.Context // for watches; nil before start
}

// kind is this process's view of the leases of one kind. It is guarded by its roster's mu.
type kind struct {
	wanted int                  // leases that this process holds or waits for
	taken  int                  // leases that it holds or tries to take
	leases map[*Lease]bool      // leases that it holds
	others map[string]time.Time // last announcement of each other process, by its ID
	over   int                  // number of renewals for which it has had too many
}

func newRoster(b *Bus, alone bool, log *slog.Logger) *roster {
	return &roster{bus: b, alone: alone, log: log, kinds: make(map[string]*kind), families: make(map[string]bool)}
}

// kindOf returns the kind of a lease, by its name.
func kindOf(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// family returns the filter for the keys of all kinds like this one: those of all drains, or those
// of the enricher.
func family(kind string) string {
	tokens := strings.Split(kind, ".")
	for i := 1; i < len(tokens); i++ {
		tokens[i] = "*"
	}
	return strings.Join(append(tokens, "*"), ".")
}

// start enables sharing with other processes until ctx is done.
func (r *roster) start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
}

// kind returns the state of a kind. The caller holds mu.
func (r *roster) kind(name string) *kind {
	k := r.kinds[name]
	if k == nil {
		k = &kind{leases: make(map[*Lease]bool), others: make(map[string]time.Time)}
		r.kinds[name] = k
	}
	return k
}

// share returns the maximum number of leases of a kind for a process. The caller holds mu.
func (r *roster) share(k *kind, now time.Time) int {
	n := 1
	for _, heard := range k.others {
		if now.Sub(heard) < leaseSafe {
			n++
		}
	}
	return (r.bus.partitions + n - 1) / n
}

// join announces that the process waits for a lease, until quit.
func (r *roster) join(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).wanted++
	if f := family(kindOf(name)); r.ctx != nil && r.ctx.Err() == nil && !r.families[f] {
		r.families[f] = true
		ctx := r.ctx
		r.bus.background.Go(func() { r.run(ctx, f) }) // ends with ctx, which Close ends
	}
}

func (r *roster) quit(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).wanted--
}

// claim reports whether the process may take one more lease, which then counts as taken. An
// unclaimed one may always be taken.
func (r *roster) claim(name string, unclaimed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kind(kindOf(name))
	if k.taken >= r.share(k, time.Now()) && !unclaimed && !r.alone {
		return false
	}
	k.taken++
	return true
}

// releaseClaim undoes claim, for a lease that was not obtained or was released.
func (r *roster) releaseClaim(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(name)).taken--
}

// add records l as held, until remove.
func (r *roster) add(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kind(kindOf(l.name)).leases[l] = true
}

func (r *roster) remove(l *Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kind(kindOf(l.name)).leases, l)
}

// run announces the wishes of this process for a family, and follows those of the others, until ctx
// is done.
func (r *roster) run(ctx context.Context, family string) {
	defer r.leave(family)
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := r.listen(ctx, family, tick.C); err != nil && ctx.Err() == nil {
			r.log.Warn("watching other processes failed, retrying", "error", err)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
}

// listen returns when ctx is done, or when the watch has failed.
func (r *roster) listen(ctx context.Context, family string, tick <-chan time.Time) error {
	watch, err := r.bus.leases.Watch(ctx, family)
	if err != nil {
		return err
	}
	defer watch.Stop()
	r.announce(ctx, family)
	heard := time.Now() // when this process last received its own announcement, or had none
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if entry != nil && r.observe(entry) {
				heard = time.Now()
			}
		case <-tick:
			if !r.announce(ctx, family) {
				heard = time.Now()
			}
			if time.Since(heard) > leaseTTL { // the server may have ended, and the watch with it
				return errors.New("the watch is silent")
			}
			r.balance(family, time.Now())
		case <-ctx.Done():
			return nil
		}
	}
}

// announce announces the kinds that this process wants. It returns false if there are none.
func (r *roster) announce(ctx context.Context, family string) (any bool) {
	for _, name := range r.wanted(family) {
		any = true
		ctx, cancel := context.WithTimeout(ctx, leaseRenew)
		// A failed announcement is repeated by the next one; otherwise the process is considered
		// dead, which costs a handover.
		_, _ = r.bus.leases.Put(ctx, name+"."+memberToken+r.bus.owner, nil)
		cancel()
	}
	return any
}

// leave withdraws the announcements of this process.
func (r *roster) leave(family string) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseRenew)
	defer cancel()
	for _, name := range r.wanted(family) {
		_ = r.bus.leases.Delete(ctx, name+"."+memberToken+r.bus.owner) // otherwise they expire after some seconds
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

// observe processes an announcement. It returns true for one of this process.
func (r *roster) observe(entry jetstream.KeyValueEntry) bool {
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

// balance requests a handover of excess leases.
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
		r.log.Info("handing work over to another process", "work", name, "pieces", excess)
		for l := range k.leases {
			if excess--; excess < 0 {
				break
			}
			l.requestHandover()
		}
	}
}
