package admin

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// An errorLog takes what an http.Server reports of its connections, such as failed handshakes.
// Clients cause it, so that it is limited: what is left out is counted in the next line.
type errorLog struct {
	log     *slog.Logger
	limiter *rate.Limiter

	mu     sync.Mutex // guards silent
	silent int        // lines that were left out
}

func newErrorLog(to *slog.Logger) *log.Logger {
	return log.New(&errorLog{log: to, limiter: rate.NewLimiter(rate.Every(10*time.Second), 5)}, "", 0)
}

func (e *errorLog) Write(line []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.limiter.Allow() {
		e.silent++
		return len(line), nil
	}
	e.log.Warn("admin: http server", "error", strings.TrimSpace(string(line)), "left_out", e.silent)
	e.silent = 0
	return len(line), nil
}
