// Package admin is the HTTP server for operators and monitoring:
//
//	/healthz                200 while the process is up
//	/readyz                 200 when all listeners and streams work, else 503 with the reason
//	/metrics                Prometheus metrics
//	/.well-known/jwks.json  the public keys of user documents and session ends (RFC 7517)
//	/api/                   operations on drains and sessions: see [OpenAPI]
//	/console/               the same for browsers: see package console
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

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/role"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
)

// Options configure a server.
type Options struct {
	// Ready returns nil, or the reason why the process is not ready.
	Ready   func(context.Context) error
	Metrics prometheus.Gatherer
	// JWKS returns the key set to serve; nil for a process that does not sign.
	JWKS func() ([]byte, error)
	// Sessions and Operator implement the operations below /api/v1/ for callers with the Token. If
	// Token is empty, no token is accepted. If Operator is nil, requests about drains are referred
	// to another process.
	Sessions *operate.SessionOperator
	Operator *operate.Operator
	Token    string
	// Tokens are further tokens, each with its own role.
	Tokens role.Tokens
	// Trail records operators' actions before they are taken; nil for none.
	Trail *trail.Trail
	// Console also gives access to users with a browser; nil disables it.
	Console *console.Console
	// Log logs operations and views of session content, with their callers; nil discards the log.
	Log *slog.Logger

	// Socket is an additional listener for commands on this machine, with a connection limit of its
	// own; may be nil.
	Socket net.Listener
	// Certificate enables TLS, except on Socket; nil for plain HTTP.
	Certificate *Certificate
	// Hosts are additional names and addresses of this server: see ownHost.
	Hosts []string
	// Limits bound the number of connections, except on Socket.
	Limits Limits
	// TrustedProxies are the networks of proxies. They are exempt from the limit per address, and
	// their X-Forwarded-For determines to whom a wrong token is attributed.
	TrustedProxies []netip.Prefix
	// Connections are the connection metrics; may be nil.
	Connections *Metrics
}

// readyTimeout bounds the duration of a readiness check.
const readyTimeout = 3 * time.Second

// SocketConnections is the maximum number of simultaneous connections to [Options.Socket].
const SocketConnections = 32

// Serve serves until ctx is done. Then it waits a moment for requests in progress and returns nil.
// It closes the listeners.
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
	server.Close() // if one listener has failed: the connections and the other listener
	for range len(listeners) - 1 {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the admin address: %w", err)
}

// server returns the server for all listeners. It only serves HTTP/1.1: a single HTTP/2 connection
// could hold hundreds of requests.
func (o *Options) server(ctx context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           http.MaxBytesHandler(o.guardHost(o.handler(ctx)), maxBody),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      responseTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		ErrorLog:          newErrorLog(o.Log),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, countedOf(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if counted := countedOf(c); counted != nil && state == http.StateIdle {
				counted.trusted.Store(false)
			}
		},
	}
}

// handler returns the handler of all requests.
func (o *Options) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	routes := o.publicRoutes()
	if o.Token != "" || len(o.Tokens) > 0 || o.Console != nil {
		a := &api{operator: o.Operator, sessions: o.Sessions, trail: o.Trail, tokens: o.Tokens.WithAdmin(o.Token), console: o.Console, log: o.Log, ending: ctx,
			wrong: console.NewAttempts(o.TrustedProxies), unauthenticated: console.NewAttempts(o.TrustedProxies)}
		routes = append(routes, a.routes()...)
	}
	for _, r := range routes {
		mux.HandleFunc(r.Key(), r.handler)
	}
	if o.Console != nil {
		o.Console.Register(mux)
	}
	return refuseUnknown(mux, routes)
}
