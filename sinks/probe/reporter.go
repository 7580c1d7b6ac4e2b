// Package probe records a connectivity check: the steps from the resolution of a drain's name to
// the drain's acceptance of a record.
//
// A check calls the sink itself, so it reports on the connections that carry records, and not on
// others that were made for the check. The sink reports through the [Reporter] of its context:
//
//	report := probe.From(ctx)
//	ctx = report.Connect(ctx, "logs.example.com:6514", true) // then dial with ctx
//	…
//	probe.From(ctx).Report(probe.Fact{Step: probe.Authentication, Text: "the drain accepts the key"})
//
// DNS, TCP and TLS need no more than that: [net.Dialer], net/http and sinks.Handshake call the
// hooks of [net/http/httptrace], which the context of Connect has. A sink that connects to nothing
// reports each of its own steps as a [Step].
package probe

import (
	"context"
	"crypto/tls"
	"net/url"
)

// A Reporter receives the findings of a sink in a Probe or a Write. Outside of a check it discards
// them. It is safe for concurrent use.
type Reporter interface {
	// Enabled reports whether findings are recorded. A sink may then ask its drain for more than a
	// delivery needs.
	Enabled() bool
	// Connect returns a context for connecting to one of the drain's addresses (host:port) and for
	// everything that is sent there; secure means TLS. The Reporter of that context reports on this
	// address. Connect is called once for each connection.
	Connect(ctx context.Context, address string, secure bool) context.Context
	// Report records a finding.
	Report(Finding)
}

// A Finding is one of the types below: [Step], [Fact], [Warning], [Failure], [StatusLine],
// [ViaProxy] and [ClientCertificate].
type Finding interface {
	// record adds the finding. p is the address that it is about, or nil; r.mu is held.
	record(r *Recorder, p *peer)
}

// A Fact is a sentence on a successful step: on the [Authentication] at the Reporter's address, or
// on the [Acceptance] of the record. It holds no secret.
type Fact struct{ Step, Text string }

// A Warning is a reason why an accepted record may not be stored or found as intended.
type Warning struct{ Problem, Advice string }

// A Failure is the reason why a request to the Reporter's address failed. The zero Failure revokes
// an earlier one.
type Failure struct {
	Problem, Advice string
	// Err is the cause, or nil.
	Err error
	// Status is that of the response in HTTP, or 0.
	Status int
	// Unauthorized means that the drain refused the credentials.
	Unauthorized bool
}

// A StatusLine is the status line of an HTTP response.
type StatusLine struct {
	Status   int
	Protocol string
}

// A ViaProxy is the proxy through which the Reporter's address is reached.
type ViaProxy struct {
	URL        *url.URL
	Configured bool // by a setting of the drain, and not by the environment
	// Status is that of the proxy's answer to CONNECT, or 0.
	Status int
}

// A ClientCertificate is the response to the drain's request for one. Sent is nil for none.
type ClientCertificate struct{ Sent *tls.Certificate }

type (
	recorderKey struct{} // the key of a context's *Recorder
	peerKey     struct{} // the key of a context's *peer
)

// From returns the Reporter of a context.
func From(ctx context.Context) Reporter {
	r, _ := ctx.Value(recorderKey{}).(*Recorder)
	if r == nil {
		return discard{}
	}
	p, _ := ctx.Value(peerKey{}).(*peer)
	return reporter{r, p}
}

// Quiet returns a context for requests that are no part of a check. It hides all values of ctx.
func Quiet(ctx context.Context) context.Context { return quiet{ctx} }

type quiet struct{ context.Context }

func (quiet) Value(any) any { return nil }

// discard is the Reporter outside of a check.
type discard struct{}

func (discard) Enabled() bool                                                 { return false }
func (discard) Connect(ctx context.Context, _ string, _ bool) context.Context { return ctx }
func (discard) Report(Finding)                                                {}
