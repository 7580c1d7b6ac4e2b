package admin

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// errorLog receives the errors that an http.Server reports about connections, such as failed
// handshakes. Clients can cause them, so their rate is limited; the next line has the number of
// omitted lines.
type errorLog struct {
	log     *slog.Logger
	limiter *rate.Limiter

	mu     sync.Mutex // guards silent
	silent int        // number of omitted lines
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
