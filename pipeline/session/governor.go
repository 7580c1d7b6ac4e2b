package session

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/ttydrain/ttydrain/schema"
)

// The output of sessions is held back where it exceeds a limit, and where the room to record it is
// nearly used up: then nothing is read from the program, which waits as it does for a slow
// terminal. Nothing is dropped. Small output is never held back for the sake of others, so that who
// shows a lot makes nobody's prompt slow: smallRate bytes a second of each session pass.
//
// While less than the reserve is left, nothing else passes. While less than a half of it is left,
// the sessions that are held back are ended, one a second, first the one that showed the most of
// late. What ends new sessions and, last of all, small output is with the store.

const (
	smallRate  = 16 << 10
	smallBurst = 64 << 10
	// smallCost is about the size of a message without the output in it.
	smallCost = 256
	// leastDelay is not waited for: what a limiter has lent is waited for together.
	leastDelay = 5 * time.Millisecond
	// roomSlowest and roomFastest bound how often the room is looked at. In between it is by the
	// time in which roomRate bytes a second would use up what is left before the reserve.
	roomSlowest, roomFastest = time.Second, 50 * time.Millisecond
	roomRate                 = 512 << 20
	// endEvery is the time between two sessions that are ended for lack of room.
	endEvery = time.Second
	// heldLeast is for how long a session is held back before it is ended: meanwhile streams may
	// give up delivered data, and its client takes the output that is recorded.
	heldLeast = 3 * time.Second
	// lately is about how far back it is counted how much a session showed of late.
	lately = time.Minute
	// sweepEvery is the time between two looks for accounts that can be removed.
	sweepEvery = time.Minute
)

// Room describes the room that is left to record output, and the part of it that is reserved for
// sessions with little output. A Reserve of 0 stands for room without a bound.
type Room struct{ Free, Reserve uint64 }

// errNoRoom is the cause with which a session ends that showed the most when there was almost no
// room left.
var errNoRoom = fmt.Errorf("the session showed the most while there was almost no room left: %w", ErrFull)

// An outputLimit is the cause with which a session ends that showed more than it may.
type outputLimit struct{ sentence string }

func (e *outputLimit) Error() string { return e.sentence }

// A governor bounds the output of the sessions of a manager.
type governor struct {
	room     func(context.Context) (Room, error) // nil: without a bound
	metrics  *Metrics
	admitted atomic.Int64 // bytes of output that were let in
	recorded atomic.Int64 // those of them that were recorded, or given up

	mu       sync.Mutex
	left     Room                // guarded by mu: as of the last look
	base     int64               // guarded by mu: what had been recorded before that look
	accounts map[string]*account // guarded by mu
	swept    time.Time           // guarded by mu: when accounts were forgotten last
	held     map[*output]bool    // guarded by mu: those that wait for room
	ended    time.Time           // guarded by mu: when a session was ended last for lack of room
}

func newGovernor(room func(context.Context) (Room, error), metrics *Metrics) *governor {
	return &governor{room: room, metrics: metrics, accounts: make(map[string]*account), held: make(map[*output]bool)}
}

// An account bounds the output of the sessions of one user or one stack together. Its fields are
// guarded by the governor's mu.
type account struct {
	what     string // the sessions, for people
	limit    Limit
	limiter  *rate.Limiter // nil without a bound of the rate; safe for concurrent use
	day      day
	sessions int // that run
}

// An output is a session's.
type output struct {
	governor    *governor
	limit       Limit
	limiter     *rate.Limiter // nil without
	small       *rate.Limiter
	user, stack *account
	end         func(cause error) // ends the session
	ended       atomic.Bool       // end was called
	since       time.Time         // since when it is held back; zero while it is not. Guarded by the governor's mu

	mu      sync.Mutex
	total   int64     // guarded by mu
	pending int64     // guarded by mu: admitted and not recorded
	recent  float64   // guarded by mu: bytes, with less weight the older they are
	at      time.Time // guarded by mu: when recent was counted
}

// open begins a session's output. It fails with a *Refusal where the output of its
// user or its stack has reached the limit of the day.
func (g *governor) open(app App, user schema.User) (*output, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.sweep(now)
	o := &output{
		governor: g, limit: app.Limits.Session, limiter: app.Limits.Session.limiter(), small: rate.NewLimiter(smallRate, smallBurst),
		user:  g.account("user\x00"+app.Stack+"\x00"+user.ID, "your sessions on the stack "+app.Stack, app.Limits.User),
		stack: g.account("stack\x00"+app.Stack, "the sessions on the stack "+app.Stack, app.Limits.Stack),
	}
	for _, a := range []*account{o.user, o.stack} {
		if a.limit.Bytes == 0 {
			continue
		}
		if a.day.at(now); a.day.sum >= a.limit.Bytes {
			return nil, &Refusal{fmt.Sprintf("%s have shown as much within a day as they may (%s), so this one was not started: try again at %s, or have the operators raise the limit",
				a.what, bytesText(a.limit.Bytes), a.day.below(now, a.limit.Bytes).UTC().Format("15:04 UTC"))}
		}
	}
	o.user.sessions++
	o.stack.sessions++
	return o, nil
}

// account returns the account of the key, with the limit as it is configured now. mu is held.
func (g *governor) account(key, what string, limit Limit) *account {
	a := g.accounts[key]
	if a == nil {
		a = &account{what: what, limit: limit, limiter: limit.limiter()}
		g.accounts[key] = a
	}
	if a.limit != limit {
		if a.limiter == nil || limit.Rate == 0 {
			a.limiter = limit.limiter()
		} else {
			a.limiter.SetLimit(rate.Limit(limit.Rate))
			a.limiter.SetBurst(int(max(limit.Burst, largestFrame)))
		}
		a.limit = limit
	}
	return a
}

// sweep removes the accounts of which no session runs, whose output is older than a day, and whose
// bursts are available in full again. mu is held.
func (g *governor) sweep(now time.Time) {
	if now.Sub(g.swept) < sweepEvery {
		return
	}
	g.swept = now
	for key, a := range g.accounts {
		a.day.at(now)
		if a.sessions == 0 && a.day.sum == 0 && (a.limiter == nil || a.limiter.TokensAt(now) >= float64(a.limiter.Burst())) {
			delete(g.accounts, key)
		}
	}
}

// close ends a session's output. It is called once.
func (o *output) close() {
	o.mu.Lock()
	o.governor.recorded.Add(o.pending)
	o.pending = 0
	o.mu.Unlock()
	g := o.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	o.user.sessions--
	o.stack.sessions--
}

// wait waits until n bytes of output may be recorded. It ends the session where that shows more
// than it may, and returns false where these bytes must not be shown any more: after that, and
// where room is scarce and over is closed, which it is when the session was ended. A nil output is
// without bounds.
func (o *output) wait(over <-chan struct{}, n int) bool {
	if o == nil {
		return true
	}
	g := o.governor
	now := time.Now()
	user, stack := o.count(now, n)
	if o.ended.Load() {
		return false
	}
	delay := reserve(o.limiter, now, n)
	if o.small.AllowN(now, n+smallCost) {
		g.pause(over, delay)
	} else {
		g.pause(over, max(delay, reserve(user, now, n), reserve(stack, now, n)))
		if g.holds(o) && !o.waitForRoom(over, n) {
			return false
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending += int64(n)
	g.admitted.Add(int64(n))
	return true
}

// stop ends the session for the cause.
func (o *output) stop(cause error) {
	o.ended.Store(true)
	o.end(cause)
}

// count counts n bytes, and ends the session where they are too many. It returns the limiters of
// the user and the stack.
func (o *output) count(now time.Time, n int) (user, stack *rate.Limiter) {
	o.mu.Lock()
	o.total += int64(n)
	total := o.total
	o.recent = o.recent*math.Exp(-float64(now.Sub(o.at))/float64(lately)) + float64(n)
	o.at = now
	o.mu.Unlock()
	g := o.governor
	if o.limit.Bytes > 0 && total > o.limit.Bytes {
		o.stop(&outputLimit{"this session was ended: it has shown as much as a session may (" + bytesText(o.limit.Bytes) + ")"})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range []*account{o.user, o.stack} {
		if a.limit.Bytes == 0 {
			continue
		}
		if a.day.add(now, int64(n)); a.day.sum > a.limit.Bytes {
			o.stop(&outputLimit{"this session was ended: " + a.what + " have shown as much within a day as they may (" + bytesText(a.limit.Bytes) + ")"})
		}
	}
	return o.user.limiter, o.stack.limiter
}

// passed records that n bytes that were let in are on the stream.
func (o *output) passed(n int) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n = int(min(int64(n), o.pending)) // what the gateway says itself was not counted
	o.pending -= int64(n)
	o.governor.recorded.Add(int64(n))
}

// pause waits for a limiter, or until over is closed.
func (g *governor) pause(over <-chan struct{}, delay time.Duration) {
	if delay < leastDelay {
		return
	}
	began := time.Now()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over:
	}
	g.metrics.heldFor(HeldRate, time.Since(began))
}

// waitForRoom waits until there is room for n bytes of output. It returns false where the session
// is ended first.
func (o *output) waitForRoom(over <-chan struct{}, n int) bool {
	g := o.governor
	began := time.Now()
	g.hold(o, true)
	defer func() {
		g.hold(o, false)
		g.metrics.heldFor(HeldRoom, time.Since(began))
	}()
	tick := time.NewTicker(roomFastest)
	defer tick.Stop()
	for g.scarce(1) && !o.small.AllowN(time.Now(), n+smallCost) {
		if g.scarce(2) && g.ends(o) {
			o.stop(errNoRoom)
			return false
		}
		select {
		case <-tick.C:
		case <-over:
			return false
		}
	}
	return true
}

func (g *governor) hold(o *output, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if held {
		g.held[o] = true
	} else {
		delete(g.held, o)
	}
}

// holds reports whether output of a session is to be held back for lack of room.
func (g *governor) holds(o *output) bool {
	scarce := g.scarce(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !scarce:
		o.since = time.Time{}
	case o.since.IsZero():
		o.since = time.Now()
	}
	return scarce
}

// scarce reports whether less than that part of the reserve is left, including the output that was
// let in since the last look.
func (g *governor) scarce(part uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left.Reserve > 0 && g.free() < g.left.Reserve/part
}

// free returns how many bytes are left. mu is held.
func (g *governor) free() uint64 {
	since := uint64(max(g.admitted.Load()-g.base, 0))
	return g.left.Free - min(since, g.left.Free)
}

// ends reports whether the session is the next one that is ended for lack of room.
func (g *governor) ends(o *output) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.ended) < endEvery || now.Sub(o.since) < heldLeast {
		return false
	}
	most := o.lately(now)
	for other := range g.held {
		if now.Sub(other.since) >= heldLeast && other.lately(now) > most {
			return false
		}
	}
	g.ended = now
	return true
}

// lately returns about how many bytes the session showed of late.
func (o *output) lately(now time.Time) float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.recent * math.Exp(-float64(now.Sub(o.at))/float64(lately))
}

// Govern looks how much room is left to record output, until ctx is done.
func (m *Manager) Govern(ctx context.Context) {
	g := m.governor
	if g.room == nil {
		return
	}
	for {
		timer := time.NewTimer(g.look(ctx))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// look looks once, and returns after how long to look again. Where the store cannot be asked, the
// last answer stays: then nothing can be recorded either.
func (g *governor) look(ctx context.Context) time.Duration {
	base := g.recorded.Load()
	room, err := g.room(ctx)
	if err != nil {
		return roomSlowest
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.base = room, base
	if room.Reserve == 0 {
		return roomSlowest
	}
	free := g.free()
	until := float64(free-min(room.Reserve, free)) / roomRate
	return min(max(time.Duration(until*float64(time.Second)), roomFastest), roomSlowest)
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift {
			return strconv.FormatFloat(float64(n)/float64(int64(1)<<u.shift), 'g', 3, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
