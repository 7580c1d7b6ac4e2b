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

// The output of sessions is held back if it exceeds a limit, or when the space to record it is
// nearly used up: the gateway then stops reading from the program, which waits as for a slow
// terminal. Nothing is dropped. Small output is never held back for other sessions, so that a
// session with much output slows down nobody's prompt: smallRate bytes a second of each session
// always pass, down to the last quarter of the reserve.
//
// While the free space is below the reserve, nothing else passes. While it is below half of the
// reserve, the sessions that are held back are ended, one per second, starting with the one with
// the most recent output. Below a quarter, nothing passes of those that are held back, and the
// store itself refuses new sessions and, last of all, small output.

const (
	smallRate  = 16 << 10
	smallBurst = 64 << 10
	// smallCost is the approximate size of a message without its output.
	smallCost = 256
	// minDelay is the shortest delay that is waited for; shorter ones accumulate in the limiter.
	minDelay = 5 * time.Millisecond
	// maxRoomInterval and minRoomInterval limit the interval between two checks of the free space.
	// In between, it is the time in which output of roomRate bytes a second would use up the space
	// above the reserve.
	maxRoomInterval, minRoomInterval = time.Second, 50 * time.Millisecond
	roomRate                         = 512 << 20
	// endEvery is the minimum time between ending two sessions for lack of space.
	endEvery = time.Second
	// minHeld is the time for which a session is held back before it is ended. In this time,
	// streams may remove delivered data, and its client receives the output that is recorded.
	minHeld = 3 * time.Second
	// lately is the time constant of the decaying count of a session's recent output.
	lately = time.Minute
	// sweepEvery is the interval at which unused accounts are removed.
	sweepEvery = time.Minute
)

// Room describes the free space for recording output, and the part of it that is reserved for
// sessions with little output. A Reserve of 0 means unlimited space.
type Room struct{ Free, Reserve uint64 }

// errNoRoom is the cause of ending the session with the most output when there is almost no space
// left.
var errNoRoom = fmt.Errorf("the session showed the most while there was almost no room left: %w", ErrFull)

// outputLimit is the cause of ending a session that exceeded its output limit.
type outputLimit struct{ sentence string }

func (e *outputLimit) Error() string { return e.sentence }

// governor limits the output of a manager's sessions.
type governor struct {
	room     func(context.Context) (Room, error) // nil: unlimited
	metrics  *Metrics
	admitted atomic.Int64 // bytes of output that were admitted
	recorded atomic.Int64 // admitted bytes that were recorded or given up

	mu       sync.Mutex
	left     Room                // guarded by mu: at the last check
	base     int64               // guarded by mu: value of recorded before the last check
	accounts map[string]*account // guarded by mu
	swept    time.Time           // guarded by mu: time of the last sweep
	held     map[*output]bool    // guarded by mu: outputs that wait for space
	ended    time.Time           // guarded by mu: when a session was last ended for lack of space
}

func newGovernor(room func(context.Context) (Room, error), metrics *Metrics) *governor {
	return &governor{room: room, metrics: metrics, accounts: make(map[string]*account), held: make(map[*output]bool)}
}

// account limits the combined output of the sessions of one user or one stack. Its fields are
// guarded by the governor's mu.
type account struct {
	what     string // description of the sessions for users
	limit    Limit
	limiter  *rate.Limiter // nil for an unlimited rate; safe for concurrent use
	day      day
	sessions int // number of running sessions
}

// output limits the output of one session.
type output struct {
	governor    *governor
	limit       Limit
	limiter     *rate.Limiter // nil for no limit
	small       *rate.Limiter
	user, stack *account
	end         func(cause error) // ends the session
	ended       atomic.Bool       // end was called
	since       time.Time         // since when it is held back; zero if it is not. Guarded by the governor's mu

	mu      sync.Mutex
	total   int64     // guarded by mu
	pending int64     // guarded by mu: admitted and not yet recorded
	recent  float64   // guarded by mu: bytes, weighted by age
	at      time.Time // guarded by mu: when recent was last updated
}

// open starts a session's output. It returns a *Refusal if the output of its user or its stack has
// reached the daily limit.
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

// account returns the account for the key and updates its limit. The caller holds mu.
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

// sweep removes the accounts without running sessions, without output within a day, and with a full
// burst available. The caller holds mu.
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

// wait waits until n bytes of output may be recorded. It ends a session that exceeds its limit. It
// returns false if the bytes must not be shown: after the session was ended, and when space is
// scarce and over, which signals the session's end, is closed. A nil output is unlimited.
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
	if o.allowSmall(now, n) {
		g.pause(over, delay)
	} else {
		g.pause(over, max(delay, reserve(user, now, n), reserve(stack, now, n)))
		if g.mustHold(o) && !o.waitForRoom(over, n) {
			return false
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending += int64(n)
	g.admitted.Add(int64(n))
	return true
}

// stop ends the session with the cause.
func (o *output) stop(cause error) {
	o.ended.Store(true)
	o.end(cause)
}

// count counts n bytes, and ends the session if it exceeds a limit. It returns the limiters of the
// user and the stack.
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

// passed notes that n admitted bytes are recorded.
func (o *output) passed(n int) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n = int(min(int64(n), o.pending)) // the gateway's own messages were not admitted through wait
	o.pending -= int64(n)
	o.governor.recorded.Add(int64(n))
}

// pause waits for a limiter's delay, or until over is closed.
func (g *governor) pause(over <-chan struct{}, delay time.Duration) {
	if delay < minDelay {
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

// allowSmall reports whether n bytes of output are small output, which passes while space is
// scarce, and counts them as such. While less than a quarter of the reserve is free, only half of
// the burst is available. A session that exceeds it waits until it is ended or there is space
// again, without its small rate: many sessions that are about to be ended would use up the space
// of the others.
func (o *output) allowSmall(now time.Time, n int) bool {
	if o.governor.scarce(4) && o.small.TokensAt(now) < smallBurst/2 {
		return false
	}
	return o.small.AllowN(now, n+smallCost)
}

// waitForRoom waits until there is space for n bytes of output. It returns false if the session is
// ended first.
func (o *output) waitForRoom(over <-chan struct{}, n int) bool {
	g := o.governor
	began := time.Now()
	g.hold(o, true)
	defer func() {
		g.hold(o, false)
		g.metrics.heldFor(HeldRoom, time.Since(began))
	}()
	tick := time.NewTicker(minRoomInterval)
	defer tick.Stop()
	for g.scarce(1) && (g.scarce(4) || !o.allowSmall(time.Now(), n)) {
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

// mustHold reports whether the output of a session has to be held back for lack of space.
func (g *governor) mustHold(o *output) bool {
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

// scarce reports whether the free space is below reserve/part, taking into account the output
// admitted since the last check.
func (g *governor) scarce(part uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left.Reserve > 0 && g.free() < g.left.Reserve/part
}

// free returns the number of free bytes. The caller holds mu.
func (g *governor) free() uint64 {
	since := uint64(max(g.admitted.Load()-g.base, 0))
	return g.left.Free - min(since, g.left.Free)
}

// ends reports whether the session is the next one to end for lack of space.
func (g *governor) ends(o *output) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.ended) < endEvery || now.Sub(o.since) < minHeld {
		return false
	}
	most := o.lately(now)
	for other := range g.held {
		if now.Sub(other.since) >= minHeld && other.lately(now) > most {
			return false
		}
	}
	g.ended = now
	return true
}

// lately returns the session's weighted recent output in bytes.
func (o *output) lately(now time.Time) float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.recent * math.Exp(-float64(now.Sub(o.at))/float64(lately))
}

// Govern monitors the free space for recording output until ctx is done.
func (m *Manager) Govern(ctx context.Context) {
	g := m.governor
	if g.room == nil {
		return
	}
	for {
		timer := time.NewTimer(g.checkRoom(ctx))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// checkRoom checks the free space once, and returns the time until the next check. If the store
// does not answer, the last result stays: then nothing can be recorded either.
func (g *governor) checkRoom(ctx context.Context) time.Duration {
	base := g.recorded.Load()
	room, err := g.room(ctx)
	if err != nil {
		return maxRoomInterval
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.base = room, base
	if room.Reserve == 0 {
		return maxRoomInterval
	}
	free := g.free()
	until := float64(free-min(room.Reserve, free)) / roomRate
	return min(max(time.Duration(until*float64(time.Second)), minRoomInterval), maxRoomInterval)
}

// bytesText formats a number of bytes for users.
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
