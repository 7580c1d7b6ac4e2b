// Package admin is the HTTP server for operators: health, metrics and the public keys.
//
//	/healthz                200 while the process is up
//	/readyz                 200 when everything listens and the streams answer, 503 with the reason otherwise
//	/metrics                Prometheus metrics
//	/.well-known/jwks.json  the public keys of user documents and session ends (RFC 7517)
//	/api/v1/                what operators do with drains and sessions: see api
//	/console/               pages for people who do that with a browser: see package console
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ttydrain/ttydrain/pipeline"
	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// Options of a server.
type Options struct {
	// Ready says why the process is not ready, or nil.
	Ready   func(context.Context) error
	Metrics prometheus.Gatherer
	// JWKS gives the key set to serve; nil for a process that signs nothing.
	JWKS func() []byte
	// Sessions and Operator do what is asked for below /api/v1/, for those who have the Token. Without a Token nobody has it;
	// without an Operator who asks for drains is sent to a process that has one.
	Sessions *pipeline.SessionOperator
	Operator *pipeline.Operator
	Token    string
	// Console lets in people with a browser, too; nil for not.
	Console *console.Console
	// Log gets who did what, and who saw what sessions showed; nil for nobody.
	Log *slog.Logger
}

// readyTimeout is how long a question for readiness may take.
const readyTimeout = 3 * time.Second

// Serve serves until ctx is done; then it finishes the requests under way, for a moment, and returns nil.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := o.Ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if o.JWKS != nil {
		mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jwk-set+json")
			w.Header().Set("Cache-Control", "public, max-age=300")
			w.Write(o.JWKS())
		})
	}
	if o.Token != "" || o.Console != nil {
		if o.Log == nil {
			o.Log = slog.New(slog.DiscardHandler)
		}
		(&api{o.Operator, o.Sessions, o.Token, o.Console, o.Log, ctx}).register(mux)
	}
	if o.Console != nil {
		o.Console.Register(mux)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	server.Close() // the connections, where the listener has failed
	return fmt.Errorf("serve the admin address: %w", err)
}
