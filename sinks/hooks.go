package sinks

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// Handshake does the TLS handshake of a connection, and calls the hooks of an
// [httptrace.ClientTrace] in ctx, as net/http does: connectivity checks need them.
func Handshake(ctx context.Context, conn *tls.Conn) error {
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks != nil && hooks.TLSHandshakeStart != nil {
		hooks.TLSHandshakeStart()
	}
	err := conn.HandshakeContext(ctx)
	if hooks != nil && hooks.TLSHandshakeDone != nil {
		hooks.TLSHandshakeDone(conn.ConnectionState(), err)
	}
	return err
}

// Encoded notes that a batch is encoded, and is now written to a drain's address. Like [Written],
// it calls a hook of an [httptrace.ClientTrace] in ctx (GetConn), as net/http does: the spans of a
// delivery need them. Sinks of other protocols call both.
func Encoded(ctx context.Context, address string) {
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.GetConn != nil {
		hooks.GetConn(address)
	}
}

// Written notes that all of a batch was handed to the connection (the hook WroteRequest).
func Written(ctx context.Context) {
	if hooks := httptrace.ContextClientTrace(ctx); hooks != nil && hooks.WroteRequest != nil {
		hooks.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// connecting returns the request with the context of a connectivity check's connection.
func connecting(report probe.Reporter, request *http.Request) *http.Request {
	return request.WithContext(report.Connect(request.Context(), hostPort(request.URL), request.URL.Scheme == "https"))
}

// reportAnswer reports the result of a request of a connectivity check.
func reportAnswer(request *http.Request, response *http.Response, err error) {
	ctx := request.Context()
	report := probe.From(ctx)
	if err != nil {
		// Not ctx: the timeout of one request is the drain's failure here, as for its sink.
		failed := TransportError(context.WithoutCancel(ctx), "reach "+hostPort(request.URL), err)
		report.Report(failed.Failure())
		return
	}
	report.Report(probe.StatusLine{Status: response.StatusCode, Protocol: response.Proto})
}
