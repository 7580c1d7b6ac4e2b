package session

import (
	"cmp"
	"time"

	"golang.org/x/time/rate"
)

// Limit limits the output of a session, or of several sessions together. A zero field means no
// limit.
type Limit struct {
	// Rate is in bytes per second and applies after the first Burst bytes. A program with more
	// output is slowed down.
	Rate, Burst int64
	// Bytes limits the output of a session over its lifetime, or of several sessions within a day.
	Bytes int64
}

// Limits holds the output limits of the sessions on a stack, on each gateway.
type Limits struct {
	Session Limit // of each session
	User    Limit // of all sessions of a user on the stack together
	Stack   Limit // of all sessions on the stack together
}

// The default limits depend on the capacity of the store, which is the limit of a stream or the
// size of the disk. One session needs at least half an hour to fill it, apart from the burst, in
// which a program can show some files of usual size at full speed.
const (
	fillTime     = 30 * time.Minute
	burstPart    = 32
	minRate      = 1 << 20
	minBurst     = 8 << 20
	userFactor   = 2 // multiple of a session's limit
	stackFactor  = 4
	largestFrame = frameBuffer // minimum burst
)

// WithDefaults returns the limits with default rates and bursts for a store of the given capacity
// in bytes, where none are set. A capacity of 0 means unknown and sets no defaults. Bytes has no
// default.
func (l Limits) WithDefaults(capacity int64) Limits {
	if capacity <= 0 {
		return l
	}
	base := max(capacity/int64(fillTime/time.Second), minRate)
	burst := max(capacity/burstPart, minBurst)
	l.Session = l.Session.or(base, burst)
	l.User = l.User.or(userFactor*base, userFactor*burst)
	l.Stack = l.Stack.or(stackFactor*base, stackFactor*burst)
	return l
}

func (l Limit) or(rate, burst int64) Limit {
	l.Rate, l.Burst = cmp.Or(l.Rate, rate), cmp.Or(l.Burst, burst)
	return l
}

// limiter returns a limiter for the rate; nil if it is unlimited.
func (l Limit) limiter() *rate.Limiter {
	if l.Rate == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(l.Rate), int(max(l.Burst, largestFrame)))
}

// reserve reserves n bytes of a limiter, and returns the time to wait for them.
func reserve(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	return l.ReserveN(now, min(n, l.Burst())).DelayFrom(now)
}

// day counts bytes by the hour over the last 24 hours.
type day struct {
	hour  int64 // the current hour, in hours since 1970
	hours [24]int64
	sum   int64
}

// at removes counts that are older than a day.
func (d *day) at(now time.Time) {
	hour := now.Unix() / 3600
	for ; d.hour < hour && d.sum > 0; d.hour++ {
		oldest := &d.hours[(d.hour+1)%24]
		d.sum -= *oldest
		*oldest = 0
	}
	d.hour = max(d.hour, hour)
}

func (d *day) add(now time.Time, n int64) {
	d.at(now)
	d.hours[d.hour%24] += n
	d.sum += n
}

// below returns the time at which the sum falls below the limit.
func (d *day) below(now time.Time, limit int64) time.Time {
	d.at(now)
	sum := d.sum
	for i := int64(1); i <= 24; i++ {
		if sum < limit {
			return time.Unix((d.hour+i-1)*3600, 0)
		}
		sum -= d.hours[(d.hour+i)%24]
	}
	return time.Unix((d.hour+24)*3600, 0)
}
