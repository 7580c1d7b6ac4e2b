package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/ttydrain/ttydrain/sinks/probe"
)

// TransportError classifies the error of a connection that could not be made, or broke.
//
// The verdict is [Misconfigured] where TLS failed for a reason that an operator has to remove: a
// certificate that cannot be verified, a client certificate that is missing or refused, a port that
// does not speak TLS. It is [Retry] for everything else.
//
// ctx is the context of the caller: if it is done, that is the reason, and errors.Is finds
// ctx.Err() and its cause. doing begins the Reason, such as "connect to logs.example.com:6514".
//
// The text of err is kept only if its type is known not to quote the drain: a peer that echoes
// requests must not bring a record or a token into an error.
func TransportError(ctx context.Context, doing string, err error) *Error {
	if stop := ctx.Err(); stop != nil {
		if cause := context.Cause(ctx); cause != stop {
			stop = fmt.Errorf("%w: %w", stop, cause)
		}
		return &Error{Verdict: Retry, Reason: doing + ": given up before the drain had confirmed", Advice: "try again, with a longer timeout if it is slow", Err: stop}
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // the text of a url.Error has the URL, which can have a token
	}
	if refused := (*proxyError)(nil); errors.As(err, &refused) {
		return refused.verdict(doing)
	}
	if failed := (*proxyTLSError)(nil); errors.As(err, &failed) {
		return failed.verdict(doing)
	}
	if reason, advice := tlsReason(err); reason != "" {
		return &Error{Verdict: Misconfigured, Reason: doing + ": " + reason, Advice: advice, Err: quotable(err)}
	}
	reason, advice := probe.Explain(err)
	e := &Error{Verdict: Retry, Reason: doing + ": " + reason, Advice: advice, Err: quotable(err), Reached: brokeOff(err)}
	if probe.IsTimeout(err) && !whileConnecting(err) {
		e.Reached, e.TimedOut = true, 1 // or more: see Outcome.Fail
	}
	return e
}

// brokeOff reports whether an open connection ended, or the response on it was not HTTP.
func brokeOff(err error) bool {
	if whileConnecting(err) || probe.IsTimeout(err) {
		return false
	}
	var (
		network *net.OpError
		number  syscall.Errno
	)
	return errors.As(err, &network) || errors.As(err, &number) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || quotable(err) == nil
}

// whileConnecting reports whether no connection was established.
func whileConnecting(err error) bool {
	var (
		dns     *net.DNSError
		network *net.OpError
	)
	return errors.As(err, &dns) || errors.As(err, &network) && network.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// tlsReason returns why TLS failed and what to do about it, or "" where something else failed.
func tlsReason(err error) (reason, advice string) {
	if header := (tls.RecordHeaderError{}); errors.As(err, &header) {
		return "what listens there does not speak TLS", "correct the port, or switch TLS on at the drain"
	}
	var (
		pin       *pinError
		other     *authorityError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		system    x509.SystemRootsError
		any       *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &pin):
		return "the drain's certificate has the SHA-256 fingerprint " + pin.got.String() +
			", which is none of fingerprint_sha256", "compare it with the certificate at the drain, and set fingerprint_sha256 to it if it was renewed there"
	case errors.As(err, &host) && withoutNames(host.Certificate):
		return "the drain's certificate has no subject alternative name (SAN), and its common name does not count", "replace it by one with a SAN for " + probe.Printable(host.Host) +
			", or set fingerprint_sha256 to " + fingerprintOf(host.Certificate).String() + ", if that is the certificate at the drain"
	case errors.As(err, &host):
		return "the drain's certificate is for another host name", "correct the address, or set server_name to a name that the certificate has"
	case errors.As(err, &other):
		return other.reason(), "set ca_file to the PEM file of " + other.signer + ", which the operator of the drain has"
	case errors.As(err, &authority):
		return "the drain's certificate is signed by an authority that is not trusted", "set ca_file to the PEM file with that authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate " + probe.Printable(invalid.Cert.Subject.String()) + " of the drain " + probe.Invalid(invalid.Cert, time.Now()),
			"renew it, and compare the clocks of both machines"
	case errors.As(err, &system):
		return "this machine has no list of trusted authorities", "install ca-certificates, or set ca_file"
	case errors.As(err, &any):
		return "the drain's certificate cannot be verified", "replace it, or set ca_file to the authority that signed it"
	}
	switch {
	case isLocalAlert(err, alertNoRenegotiation):
		return "the drain asks to renegotiate TLS, as servers do that demand a client certificate for some paths alone, and ttydrain never renegotiates",
			"set the drain to ask for the certificate in the first handshake, for the whole host, or to speak TLS 1.3"
	case strings.Contains(err.Error(), "server selected unadvertised ALPN protocol"): // of crypto/tls, with nothing of the peer's in it
		return alpnReason, alpnAdvice
	}
	return alertReason(err)
}

const (
	alpnReason = "the drain takes other protocols than HTTP/1.1 on this port (ALPN)"
	alpnAdvice = "allow http/1.1 there, or correct the port"
)

// withoutNames reports whether a certificate names no host.
func withoutNames(c *x509.Certificate) bool {
	return c != nil && len(c.DNSNames) == 0 && len(c.IPAddresses) == 0
}

// isLocalAlert reports whether a connection was ended by an alert that this side sent.
func isLocalAlert(err error, alert tls.AlertError) bool {
	local := (*net.OpError)(nil)
	return errors.As(err, &local) && local.Op == "local error" && local.Err != nil && local.Err.Error() == alert.Error()
}

// TLS alerts (RFC 8446 §6) by which a drain refuses what this side is set to.
const (
	alertHandshakeFailure       tls.AlertError = 40
	alertBadCertificate         tls.AlertError = 42
	alertUnsupportedCertificate tls.AlertError = 43
	alertCertificateRevoked     tls.AlertError = 44
	alertCertificateExpired     tls.AlertError = 45
	alertCertificateUnknown     tls.AlertError = 46
	alertUnknownAuthority       tls.AlertError = 48
	alertAccessDenied           tls.AlertError = 49
	alertProtocolVersion        tls.AlertError = 70
	alertInsufficientSecurity   tls.AlertError = 71
	alertNoRenegotiation        tls.AlertError = 100
	alertUnrecognizedName       tls.AlertError = 112
	alertCertificateRequired    tls.AlertError = 116
	alertNoApplicationProtocol  tls.AlertError = 120
)

// isTLSFailure reports whether it is TLS that failed.
func isTLSFailure(err error) bool {
	reason, _ := tlsReason(err)
	return reason != ""
}

// isAlert reports whether the drain ended a connection by one of the alerts below.
func isAlert(err error) bool {
	reason, _ := alertReason(err)
	return reason != ""
}

// alertReason is [tlsReason] for the alerts that a drain sends.
func alertReason(err error) (reason, advice string) {
	remote := (*net.OpError)(nil)
	if !errors.As(err, &remote) || remote.Op != "remote error" || remote.Err == nil {
		return "", ""
	}
	// The type of a received alert is not exported by crypto/tls; its text is that of an
	// AlertError.
	is := func(alerts ...tls.AlertError) bool {
		for _, a := range alerts {
			if remote.Err.Error() == a.Error() {
				return true
			}
		}
		return false
	}
	switch {
	case is(alertCertificateRequired):
		return "the drain demands a client certificate", "set cert_file and key_file"
	case is(alertCertificateExpired):
		return "the drain refuses the client certificate as expired", "replace cert_file and key_file"
	case is(alertCertificateRevoked):
		return "the drain refuses the client certificate as revoked", "replace cert_file and key_file"
	case is(alertUnknownAuthority):
		return "the drain does not trust the authority of the client certificate", "replace cert_file and key_file by ones that it trusts"
	case is(alertBadCertificate, alertUnsupportedCertificate, alertCertificateUnknown, alertAccessDenied):
		return "the drain refuses the client certificate, or demands one", "set cert_file and key_file to a pair that it accepts"
	case is(alertHandshakeFailure, alertInsufficientSecurity):
		return "the drain ended the TLS handshake", "set cert_file and key_file if it demands a client certificate, and allow TLS 1.2 or later with a modern cipher suite at the drain"
	case is(alertProtocolVersion):
		return "the drain speaks no TLS version from 1.2 on", "allow TLS 1.2 or 1.3 at the drain"
	case is(alertNoApplicationProtocol):
		return alpnReason, alpnAdvice
	case is(alertUnrecognizedName):
		return "the drain does not know the host name", "correct the address, or set server_name"
	}
	return "", ""
}

// quotable returns the part of err whose text holds only addresses, names of certificates and the
// operating system's words; nil if there is none.
func quotable(err error) error {
	var (
		operation    *net.OpError
		dns          *net.DNSError
		verification *tls.CertificateVerificationError
		number       syscall.Errno
	)
	switch {
	case errors.As(err, &verification):
		return verification
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &number):
		return number
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return nil
	}
}
