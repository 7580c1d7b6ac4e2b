package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// The steps on the way to a drain, in their order.
const (
	StepSettings       = "settings" // only where they make no sink
	StepDNS            = "DNS"
	StepTCP            = "TCP"
	StepProxy          = "proxy" // only where one is set
	StepTLS            = "TLS"
	StepAuthentication = "authentication"
	StepMapping        = "mapping" // only of Elasticsearch
	StepRELP           = "RELP"    // only of syslog with protocol: relp
	StepAcceptance     = "acceptance"
)

// Results of a step.
const (
	StepOK       = "ok"
	StepWarning  = "warning"   // it works, and somebody should look at it
	StepFailed   = "failed"    // nothing is delivered until somebody has done something
	StepNotTried = "not tried" // one before it failed, or nothing could be found out
)

// warnDays is how many days before the end of a certificate there is a warning.
const warnDays = 30

// A Step is what was found out about one piece of the way to a drain. It holds no secret, and
// nothing that could spoil a terminal, although some of it is in the drain's words.
type Step struct {
	Name string `json:"step"`
	// Peer is the address (host:port) that it is about; "" for the drain as a whole.
	Peer   string `json:"peer,omitempty"`
	Result string `json:"result"`
	// Milliseconds is how long it took, where that was measured.
	Milliseconds float64 `json:"milliseconds,omitzero"`
	// Facts are sentences on what was found.
	Facts []string `json:"facts,omitempty"`
	// Certificates is the drain's chain, its own first, and ClientCertificates what was sent to it.
	Certificates       []Certificate `json:"certificates,omitempty"`
	ClientCertificates []Certificate `json:"client_certificates,omitempty"`
	// Problem says what went wrong, and Do what to do next; "" where Result is ok or not tried.
	Problem string `json:"problem,omitempty"`
	Do      string `json:"do,omitempty"`
}

// A Certificate is what people look at in one.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// DaysLeft is how many whole days it is still good; negative after its end.
	DaysLeft int `json:"days_left"`
}

// Try goes the way to a drain by its sink, as deliveries do: it probes and then, unless record is
// nil, writes the record. It tells each step of it, and whether all that had to be done could be.
// The sink has to be a new one: of connections that were made before, nothing is known.
func Try(ctx context.Context, sink Sink, record *Entry) (steps []Step, ok bool) {
	t := new(trace)
	ctx = context.WithValue(ctx, traceKey{}, t)
	failed := errorOf(sink.Probe(ctx))
	// A drain that answers at all may take a record although it did not like the question before.
	if record != nil && (failed == nil || failed.Status != 0) {
		written := errorOf(sink.Write(ctx, []Entry{*record}))
		// Deliveries go to each of the drain's addresses in turn.
		for range t.spare() {
			if written == nil || written.Status != 0 {
				break
			}
			written = errorOf(sink.Write(ctx, []Entry{*record}))
		}
		if failed == nil || written == nil || written.Status != failed.Status {
			failed = written
		}
	}
	return t.steps(failed, record != nil), failed == nil
}

// SettingsStep tells of a sink that could not be made.
func SettingsStep(err error) []Step {
	steps := []Step{{Name: StepSettings, Result: StepFailed, Problem: printable(err.Error()), Do: "correct the drain's settings, or the files that they name"}}
	return append(steps, untried("", StepDNS)...)
}

// errorOf is AsError of the one record's own error, where that is what a batch's error is about.
func errorOf(err error) *Error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	if len(e.Items) == 1 {
		item := e.Items[0]
		return &Error{Verdict: item.Verdict, Status: item.Status, Reason: item.Reason, Advice: item.Advice, Err: e.Err}
	}
	return e
}

// spare is how many addresses there are beside the first.
func (t *trace) spare() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, len(t.peers)-1)
}

// steps tells what is known, when all ended with e, or well if that is nil.
func (t *trace) steps(e *Error, wrote bool) []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	var steps []Step
	acceptance := Step{Name: StepAcceptance}
	switch {
	case e == nil && wrote:
		acceptance.Result, acceptance.Facts = StepOK, t.accepted
		if t.doubt != nil {
			acceptance.Result = StepWarning
			acceptance.blame(t.doubt)
		}
	case e != nil:
		acceptance.Result = StepFailed
		acceptance.blame(e)
	default:
		acceptance.Result, acceptance.Facts = StepNotTried, []string{"no record was written"}
	}
	if len(t.peers) == 0 {
		return append(untried("", StepDNS)[:4], acceptance)
	}
	way := e == nil // one of the peers can be written to
	for _, p := range t.peers {
		failure := p.failed
		// The error of the whole is a peer's own where there is no other, and after an answer where no
		// peer has another.
		if e != nil && (failure == nil || len(t.peers) == 1 && e.Status != 0) {
			failure = e
		}
		found := p.steps(failure, e == nil && wrote)
		broken := slices.ContainsFunc(found, func(s Step) bool { return s.Result == StepFailed })
		way = way || !broken
		if broken && e == nil { // the others do
			for i := range found {
				if found[i].Result == StepFailed {
					found[i].Result = StepWarning
				}
			}
		}
		if e == nil && wrote && !broken && p.status != 0 {
			acceptance.Facts = append([]string{fmt.Sprintf("%s answered %d %s (%s)", p.name, p.status, http.StatusText(p.status), p.protocol)}, acceptance.Facts...)
		}
		steps = append(steps, found...)
	}
	if !way || slices.ContainsFunc(t.own, func(s Step) bool { return s.Result == StepFailed }) {
		acceptance = untried("", StepAcceptance)[0]
	}
	return append(append(steps, t.own...), acceptance)
}

// untried are the steps from one on.
func untried(peer, from string) []Step {
	names := []string{StepDNS, StepTCP, StepTLS, StepAuthentication, StepAcceptance}
	var steps []Step
	for _, name := range names[slices.Index(names, from):] {
		steps = append(steps, Step{Name: name, Peer: peer, Result: StepNotTried})
	}
	return steps
}

// blame says what went wrong in the words of an error.
func (s *Step) blame(e *Error) {
	s.Problem, s.Do = e.Reason, e.Advice
	if e.Err != nil {
		s.Problem += " (" + e.Err.Error() + ")"
	}
	s.Problem, s.Do = printable(s.Problem), printable(s.Do)
}

func (s *Step) fact(format string, values ...any) {
	s.Facts = append(s.Facts, printable(fmt.Sprintf(format, values...)))
}

// took says how long the step took.
func (s *Step) took(d time.Duration) {
	s.Milliseconds = float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// steps are the peer's own. failure is what came of it, if not success; taken says that a record
// was accepted. p.trace.mu is held.
func (p *peer) steps(failure *Error, taken bool) []Step {
	var steps []Step
	ok := true // so far
	// add appends a step: the first that is not ok is to blame, and those after it were not tried.
	add := func(s Step, good bool) {
		s.Peer = p.name
		switch {
		case !ok:
			s = Step{Name: s.Name, Peer: p.name, Result: StepNotTried}
		case good && s.Result == "":
			s.Result = StepOK
		case good:
		case failure == nil: // nothing went wrong, so it was not needed
			s.Result, ok = StepNotTried, false
		default:
			s.Result, ok = StepFailed, false
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
	add(p.authenticationStep(failure, taken))
	return steps
}

func (p *peer) dnsStep() (s Step, good bool) {
	s.Name = StepDNS
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
	s.took(p.dns.took)
	if !p.dns.done || p.dns.err != nil {
		s.fact("%s is not found", p.dns.host)
		return s, false
	}
	s.fact("%s is %s", p.dns.host, strings.Join(p.dns.addresses, ", "))
	return s, true
}

func (p *peer) tcpStep() (s Step, good bool) {
	s.Name = StepTCP
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
			s.took(a.took)
			s.fact("connected to %s%s", a.address, whose)
		case isTimeout(a.err):
			s.fact("%s did not answer within %s", a.address, a.took.Round(time.Millisecond))
		case errors.Is(a.err, context.Canceled): // called off, since another one was faster
		default:
			reason, _ := connectionReason(a.err)
			s.fact("%s: %s", a.address, reason)
		}
	}
	return s, good
}

func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}

func (p *peer) proxyStep(failure *Error) (s Step, good bool) {
	s.Name = StepProxy
	source := "as the environment says"
	if p.viaSet {
		source = "as proxy says"
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
	return s, p.proxyStatus == http.StatusOK || p.tls != nil || !p.secure && p.status != 0
}

func (p *peer) tlsStep(failure *Error) (s Step, good bool) {
	s.Name = StepTLS
	if !p.secure {
		s.fact("the drain is spoken to without TLS (http)")
		if host, _, err := net.SplitHostPort(p.name); err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			s.Result, s.Problem, s.Do = StepWarning, "what people saw in their sessions crosses the network in the clear", "use https"
		}
		return s, true
	}
	h := p.tls
	if h == nil {
		return s, false
	}
	s.took(h.took)
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
		s.fact("the drain asked for a client certificate, and got one")
	case p.asked:
		s.fact("the drain asked for a client certificate, and got none, since cert_file and key_file are not set")
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

// warnOfEnd warns of the certificate that ends first, if that is soon.
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
			ends := fmt.Sprintf("ends in %d days", c.DaysLeft)
			if c.DaysLeft < 0 {
				ends = "has ended"
			}
			s.Result, s.Do = StepWarning, list.do
			s.Problem = fmt.Sprintf("%s %s %s, on %s", list.what, c.Subject, ends, c.NotAfter.Format(time.DateOnly))
		}
	}
}

func (p *peer) authenticationStep(failure *Error, taken bool) (s Step, good bool) {
	s.Name = StepAuthentication
	for _, fact := range p.authenticated {
		s.fact("%s", fact)
	}
	switch {
	case unauthorized(failure), p.clientRefused(failure),
		failure != nil && failure.Status == 0 && p.asked && len(s.Facts) == 0 && p.status == 0:
		return s, false
	case len(s.Facts) > 0:
	case taken && p.status != 0:
		s.fact("the drain takes records from this sender")
	case failure != nil && failure.Status != 0:
		s.Result = StepNotTried
		s.fact("the drain's answer tells nothing about who may write")
	default:
		s.Result = StepNotTried
		s.fact("the drain tells only when a record is written")
	}
	return s, true
}

// unauthorized says whether e is a drain's refusal of the credentials. A 403 that passes by itself
// is about something else, such as Elasticsearch's block of an index.
func unauthorized(e *Error) bool {
	return e != nil && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Verdict == Misconfigured)
}

// clientRefused says whether e is a drain's refusal of the client certificate, or of the lack of
// one: when it ends the connection by an alert after it has asked for one, there was nothing else
// to look at.
func (p *peer) clientRefused(e *Error) bool {
	if !p.asked || e == nil || e.Status != 0 {
		return false
	}
	alert, ok := errors.AsType[*net.OpError](e)
	return ok && alert.Op == "remote error"
}

func parse(c *tls.Certificate) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		if one, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, one)
		}
	}
	return chain
}

func certificates(chain []*x509.Certificate) []Certificate {
	var list []Certificate
	for _, c := range chain {
		left := time.Until(c.NotAfter)
		days := int(left / (24 * time.Hour))
		if left < 0 {
			days-- // since a division rounds to zero
		}
		list = append(list, Certificate{
			Subject: printable(c.Subject.String()), Issuer: printable(c.Issuer.String()),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: days,
		})
	}
	return list
}

// names are those that a certificate is for, a few of them.
func names(c *x509.Certificate) string {
	const most = 5
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	if len(all) == 0 {
		return "no host name"
	}
	return strings.Join(all, ", ")
}

// printable makes a text that a stranger may have written safe for a terminal.
func printable(s string) string {
	const longest = 1000
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if !unicode.IsPrint(r) || schema.IsHidden(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
