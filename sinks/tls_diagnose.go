package sinks

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// diagnoseTimeout bounds the diagnosis, which is part of a request that has already failed.
const diagnoseTimeout = 2 * time.Second

// closedEarly reports whether err can be the result of a TLS alert. In TLS 1.3 a drain refuses a
// client certificate, or the lack of one, after the client has finished the handshake. net/http
// then returns the alert, or only that it could not write, by chance.
func closedEarly(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// diagnose finds out whether the drain ended the request's connection by a TLS alert: it opens
// another one, writes nothing, and reads. It returns the alert, or cause if there is none.
func (r *Transport) diagnose(request *http.Request, cause error) error {
	if via, err := r.route.of(request); err != nil || via != nil || request.URL.Scheme != "https" {
		return cause
	}
	config, err := r.tls.Config()
	if err != nil {
		return cause
	}
	asked := false
	give := config.GetClientCertificate
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return give(info)
	}
	config.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(probe.Quiet(request.Context()), diagnoseTimeout)
	defer cancel()
	address := net.JoinHostPort(request.URL.Hostname(), cmp.Or(request.URL.Port(), "443"))
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		if isAlert(err) {
			return err
		}
		return cause
	}
	defer conn.Close()
	if !asked {
		return cause
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// A drain that accepts the certificate waits for the request.
	if _, err := conn.Read(make([]byte, 1)); err != nil && isAlert(err) {
		return err
	}
	return cause
}
