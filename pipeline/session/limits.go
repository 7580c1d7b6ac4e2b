package session

import (
	"cmp"
	"time"

	"golang.org/x/time/rate"
)

// A Limit bounds the output of a session, or of several together. A zero field is no bound.
type Limit struct {
	// Rate is in bytes a second, after the first Burst bytes. A program with more output is slowed
	// down.
	Rate, Burst int64
	// Bytes bounds the output of a session from its start to its end, or of several sessions within
	// a day.
	Bytes int64
}

// Limits bound the output of the sessions on a stack, on each gateway.
type Limits struct {
	Session Limit // of each session
	User    Limit // of all sessions of a user on the stack together
	Stack   Limit // of all sessions on the stack together
}

// The default limits follow from the capacity of the store, which is the bound of a stream or the
// size of the disk. One session takes half an hour at least to fill it, but for the burst, in which
// a program shows some files of usual size as fast as they can be recorded.
const (
	fillTime     = 30 * time.Minute
	burstPart    = 32
	leastRate    = 1 << 20
	leastBurst   = 8 << 20
	userFactor   = 2 // of what a session has
	stackFactor  = 4
	largestFrame = frameBuffer // a burst is never less
)

// WithDefaults returns the limits with default rates and bursts for a store of the capacity, in
// bytes, where none are set. For a capacity of 0, which is not known, there are none. There is no
// default for Bytes.
func (l Limits) WithDefaults(capacity int64) Limits {
	if capacity <= 0 {
		return l
	}
	base := max(capacity/int64(fillTime/time.Second), leastRate)
	burst := max(capacity/burstPart, leastBurst)
	l.Session = l.Session.or(base, burst)
	l.User = l.User.or(userFactor*base, userFactor*burst)
	l.Stack = l.Stack.or(stackFactor*base, stackFactor*burst)
	return l
}

func (l Limit) or(rate, burst int64) Limit {
	l.Rate, l.Burst = cmp.Or(l.Rate, rate), cmp.Or(l.Burst, burst)
	return l
}

// limiter returns a limiter for the rate, nil without a bound.
func (l Limit) limiter() *rate.Limiter {
	if l.Rate == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(l.Rate), int(max(l.Burst, largestFrame)))
}

// reserve takes n bytes of a limiter, and returns how long to wait for them.
func reserve(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	return l.ReserveN(now, min(n, l.Burst())).DelayFrom(now)
}

// A day counts bytes by the hour, for 24 hours.
type day struct {
	hour  int64 // the last one, in hours since 1970
	hours [24]int64
	sum   int64
}

// at forgets what is older than a day.
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

// below returns when the sum is less than the limit again.
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
