package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// steps returns the steps at this address. failure is nil where all went well; accepted means that
// a record was. p.recorder.mu is held.
func (p *peer) steps(failure *Failure, accepted bool) []Step {
	var steps []Step
	ok := true // so far
	// add appends a step: the first that is not ok is to blame, and those after it were not tried.
	add := func(s Step, good bool) {
		s.Peer = p.name
		switch {
		case !ok:
			s = Step{Name: s.Name, Peer: p.name, Result: ResultNotTried}
		case good && s.Result == "":
			s.Result = ResultOK
		case good:
		case failure == nil: // nothing went wrong, so it was not needed
			s.Result, ok = ResultNotTried, false
		default:
			s.Result, ok = ResultFailed, false
			s.blame(failure)
		}
		steps = append(steps, s)
	}
	add(p.dnsStep())
	add(p.tcpStep())
	if p.via != nil {
		add(p.proxyStep(failure))
	}
	add(p.tlsStep(failure))
	add(p.authenticationStep(failure, accepted))
	return steps
}

func (p *peer) dnsStep() (s Step, good bool) {
	s.Name = DNS
	switch {
	case p.dns == nil && len(p.attempts) > 0:
		s.fact("no name to look up: the address is a number")
		return s, true
	case p.dns == nil:
		return s, false
	}
	if p.via != nil {
		s.fact("it is the proxy's name that is looked up here")
	}
	s.setDuration(p.dns.took)
	if !p.dns.done || p.dns.err != nil {
		s.fact("%s is not found", p.dns.host)
		return s, false
	}
	s.fact("%s is %s", p.dns.host, strings.Join(p.dns.addresses, ", "))
	return s, true
}

func (p *peer) tcpStep() (s Step, good bool) {
	s.Name = TCP
	whose := ""
	if p.via != nil {
		whose = ", which is the proxy"
	}
	for _, a := range p.attempts {
		switch {
		case !a.done:
			s.fact("%s did not answer within %s", a.address, time.Since(a.began).Round(time.Millisecond))
		case a.err == nil:
			good = true
			s.setDuration(a.took)
			s.fact("connected to %s%s", a.address, whose)
		case IsTimeout(a.err):
			s.fact("%s did not answer within %s", a.address, a.took.Round(time.Millisecond))
		case errors.Is(a.err, context.Canceled): // called off, since another one was faster
		default:
			reason, _ := Explain(a.err)
			s.fact("%s: %s", a.address, reason)
		}
	}
	return s, good
}

func (p *peer) proxyStep(failure *Failure) (s Step, good bool) {
	s.Name = Proxy
	source := "set by the environment"
	if p.viaSet {
		source = "set by proxy"
	}
	s.fact("%s://%s, %s", p.via.Scheme, p.via.Host, source)
	if p.via.User != nil {
		s.fact("with a user and a password")
	}
	if h := p.proxyTLS; h != nil && h.err == nil {
		s.fact("%s to the proxy", tls.VersionName(h.state.Version))
	}
	if p.proxyStatus != 0 {
		s.fact("it answered %d %s to CONNECT", p.proxyStatus, http.StatusText(p.proxyStatus))
	}
	if failure != nil && failure.Status == http.StatusProxyAuthRequired {
		return s, false
	}
	return s, p.proxyStatus == http.StatusOK || p.tls != nil || !p.secure && p.answer.Status != 0
}

func (p *peer) tlsStep(failure *Failure) (s Step, good bool) {
	s.Name = TLS
	if !p.secure {
		s.fact("the connection has no TLS (http)")
		if host, _, err := net.SplitHostPort(p.name); err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			s.Result, s.Problem, s.Do = ResultWarning, "session content crosses the network unencrypted", "use https"
		}
		return s, true
	}
	h := p.tls
	if h == nil {
		return s, false
	}
	s.setDuration(h.took)
	chain := h.state.PeerCertificates
	if len(h.state.VerifiedChains) > 0 {
		chain = h.state.VerifiedChains[0]
	}
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](h.err); ok {
		chain = verification.UnverifiedCertificates
	}
	s.Certificates = certificates(chain)
	good = h.done && (h.err == nil || p.clientRefused(failure))
	if h.state.Version != 0 {
		s.fact("%s, %s", tls.VersionName(h.state.Version), tls.CipherSuiteName(h.state.CipherSuite))
	}
	if len(chain) > 0 {
		s.fact("the drain's certificate is for %s", names(chain[0]))
	}
	switch {
	case p.client != nil:
		s.ClientCertificates = certificates(parse(p.client))
		s.fact("the drain asked for a client certificate, and received one")
	case p.asked:
		s.fact("the drain asked for a client certificate, and received none, since cert_file and key_file are not set")
	case h.done && h.err == nil:
		s.fact("the drain asked for no client certificate")
	}
	if !good {
		if _, ok := errors.AsType[x509.UnknownAuthorityError](h.err); ok && len(chain) > 0 {
			s.fact("the chain that the drain sent ends with one that is signed by %s", chain[len(chain)-1].Issuer)
		}
		return s, false
	}
	s.warnOfEnd()
	return s, true
}

// warnOfEnd sets a warning about the certificate that ends first, if that is soon.
func (s *Step) warnOfEnd() {
	soonest := warnDays
	for _, list := range []struct {
		what, do     string
		certificates []Certificate
	}{
		{"the drain's certificate", "renew it at the drain, and in ca_file if it is there", s.Certificates},
		{"the client certificate", "renew it in cert_file and key_file", s.ClientCertificates},
	} {
		for _, c := range list.certificates {
			if c.DaysLeft >= soonest {
				continue
			}
			soonest = c.DaysLeft
			day := c.NotAfter.Format(time.DateOnly)
			ends := fmt.Sprintf("ends on %s: %s", day, c.Validity())
			if c.DaysLeft < 0 {
				ends = fmt.Sprintf("%s, on %s", c.Validity(), day)
			}
			s.Result, s.Do = ResultWarning, list.do
			s.Problem = fmt.Sprintf("%s %s %s", list.what, c.Subject, ends)
		}
	}
}

func (p *peer) authenticationStep(failure *Failure, accepted bool) (s Step, good bool) {
	s.Name = Authentication
	for _, fact := range p.authenticated {
		s.fact("%s", fact)
	}
	switch {
	case failure != nil && failure.Unauthorized, p.clientRefused(failure),
		failure != nil && failure.Status == 0 && p.asked && len(s.Facts) == 0 && p.answer.Status == 0:
		return s, false
	case len(s.Facts) > 0:
	case accepted && p.answer.Status != 0:
		s.fact("the drain takes records from this sender")
	case failure != nil && failure.Status != 0:
		s.Result = ResultNotTried
		s.fact("the drain's answer does not show whether this sender may write")
	default:
		s.Result = ResultNotTried
		s.fact("the drain shows it only when a record is written")
	}
	return s, true
}

// clientRefused reports whether the drain refused the client certificate, or the lack of one: when
// it ends the connection by an alert after it has asked for one, there was nothing else to look at.
func (p *peer) clientRefused(f *Failure) bool {
	if !p.asked || f == nil || f.Status != 0 {
		return false
	}
	alert, ok := errors.AsType[*net.OpError](f.Err)
	return ok && alert.Op == "remote error"
}
