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
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/operate"
)

// Options of a server.
type Options struct {
	// Ready says why the process is not ready, or nil.
	Ready   func(context.Context) error
	Metrics prometheus.Gatherer
	// JWKS gives the key set to serve; nil for a process that signs nothing.
	JWKS func() []byte
	// Sessions and Operator do what is asked for below /api/v1/, for those who have the Token. Without
	// a Token nobody has it; without an Operator who asks for drains is sent to a process that has
	// one.
	Sessions *operate.SessionOperator
	Operator *operate.Operator
	Token    string
	// Console lets in people with a browser, too; nil for not.
	Console *console.Console
	// Log gets who did what, and who saw what sessions showed; nil for nobody.
	Log *slog.Logger

	// Socket is a second listener, for commands on this machine, or nil. Its connections have a limit
	// of their own.
	Socket net.Listener
	// Certificate makes the server speak TLS, but not on Socket; nil for plain HTTP.
	Certificate *Certificate
	// Hosts are names and addresses of this server, beside those that it knows by itself: see ownHost.
	Hosts []string
	// Limits bound the connections, but not those of Socket.
	Limits Limits
	// TrustedProxies are the addresses of proxies. The limit of one address does not apply to them,
	// and they say in X-Forwarded-For whose wrong tokens they pass on.
	TrustedProxies []netip.Prefix
	// Connections are the metrics of connections; nil for none.
	Connections *Metrics
}

// readyTimeout is how long a question for readiness may take.
const readyTimeout = 3 * time.Second

// SocketConnections is the maximum of connections to [Options.Socket] at once.
const SocketConnections = 32

// Serve serves until ctx is done; then it finishes the requests in progress, for a moment, and
// returns nil. It closes the listeners.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Connections == nil {
		o.Connections = NewMetrics(prometheus.NewRegistry())
	}
	server := o.server(ctx)
	listeners := []net.Listener{newGuard(l, o.Limits, func(a netip.Addr) bool { return console.Trusts(o.TrustedProxies, a) }, o.Connections, o.Log)}
	if o.Certificate != nil {
		listeners[0] = tls.NewListener(listeners[0], o.Certificate.config())
	}
	if o.Socket != nil {
		listeners = append(listeners, newGuard(o.Socket, Limits{Connections: SocketConnections}, nil, o.Connections, o.Log))
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	ended := make(chan error)
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }() // ends with the server
	}
	err := <-ended
	if !stop() {
		<-stopped
	}
	server.Close() // the connections and the other listener, where one has failed
	for range len(listeners) - 1 {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the admin address: %w", err)
}

// server returns the server for all listeners. It serves HTTP/1.1 alone: over HTTP/2 one connection
// could hold hundreds of requests.
func (o *Options) server(ctx context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           http.MaxBytesHandler(o.guardHost(o.routes(ctx)), maxBody),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      responseTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		ErrorLog:          newErrorLog(o.Log),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, counted(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if held := counted(c); held != nil && state == http.StateIdle {
				held.trusted.Store(false)
			}
		},
	}
}

func (o *Options) routes(ctx context.Context) http.Handler {
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
		(&api{operator: o.Operator, sessions: o.Sessions, token: o.Token, console: o.Console, log: o.Log, ending: ctx,
			wrong: console.NewAttempts(o.TrustedProxies), strangers: console.NewAttempts(o.TrustedProxies)}).register(mux)
	}
	if o.Console != nil {
		o.Console.Register(mux)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	return mux
}
