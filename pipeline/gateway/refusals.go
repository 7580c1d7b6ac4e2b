package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// refusalInterval is the interval in which repeated events are counted and logged as one line.
	refusalInterval = 10 * time.Second
	// refusalKinds is the maximum number of kinds of events that are counted separately in an
	// interval. The others are counted together.
	refusalKinds = 64
)

// refusalLog logs events caused by clients that have not logged in, at a limited rate. It logs the
// first few repeated events of a source in an interval, and the others as one line with their
// number at the end of the interval.
type refusalLog struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	kinds  map[refusalKind]*repetition
	others int         // events beyond refusalKinds
	timer  *time.Timer // ends the interval; nil between intervals
	closed bool
}

// refusalKind is a message about one source.
type refusalKind struct {
	source  netip.Prefix
	message string
	reason  string // "" if the message is sufficient
}

// repetition counts the events of a kind in an interval.
type repetition struct {
	count, logged int
	level         slog.Level
}

func newRefusalLog(log *slog.Logger) *refusalLog {
	return &refusalLog{log: log, kinds: make(map[refusalKind]*repetition)}
}

// report logs an event of a connection with log, which has the connection's attributes, unless
// first events of its kind were already logged in this interval.
func (r *refusalLog) report(log *slog.Logger, level slog.Level, first int, kind refusalKind, args ...any) {
	if !log.Enabled(context.Background(), level) || !r.count(level, first, kind) {
		return
	}
	if kind.reason != "" {
		args = append([]any{"reason", kind.reason}, args...)
	}
	log.Log(context.Background(), level, kind.message, args...)
}

// count counts an event, and reports whether it is one of the first of its kind in this interval.
func (r *refusalLog) count(level slog.Level, first int, kind refusalKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil && !r.closed {
		r.timer = time.AfterFunc(refusalInterval, r.flush)
	}
	events := r.kinds[kind]
	if events == nil {
		if len(r.kinds) >= refusalKinds {
			r.others++
			return false
		}
		events = &repetition{level: level}
		r.kinds[kind] = events
	}
	events.count++
	if events.logged >= first {
		return false
	}
	events.logged++
	return true
}

// flush ends an interval.
func (r *refusalLog) flush() {
	r.mu.Lock()
	kinds, others := r.kinds, r.others
	r.kinds, r.others, r.timer = make(map[refusalKind]*repetition), 0, nil
	r.mu.Unlock()
	for kind, events := range kinds {
		if events.count == events.logged {
			continue
		}
		args := []any{"source", sourceName(kind.source), "count", events.count, "interval", refusalInterval}
		if kind.reason != "" {
			args = append([]any{"reason", kind.reason}, args...)
		}
		r.log.Log(context.Background(), events.level, kind.message+" repeatedly", args...)
	}
	if others > 0 {
		r.log.Warn("connections refused or failed from further sources", "count", others, "interval", refusalInterval)
	}
}

// close logs the counts of the last interval. Afterwards no timer runs.
func (r *refusalLog) close() {
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.flush()
}

// sourceName returns a source for the log: as an address unless it is a network.
func sourceName(source netip.Prefix) string {
	switch {
	case !source.IsValid():
		return "unknown"
	case source.IsSingleIP():
		return source.Addr().String()
	}
	return source.String()
}
