package probe

import (
	"context"
	"net/http/httptrace"
	"slices"
	"sync"
)

// A Recorder collects the findings of one check.
type Recorder struct {
	mu       sync.Mutex // guards all fields, and those of the peers
	peers    []*peer    // in the order in which they were first connected to
	accepted []string   // facts on the acceptance of the record
	warning  *Warning   // about an accepted record, or nil
	own      []Step     // steps that only this kind of drain has
}

// Context returns a context whose Reporter records.
func (r *Recorder) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

// Addresses returns the number of the drain's addresses that were connected to.
func (r *Recorder) Addresses() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.peers)
}

// A reporter records for one address, or for the drain as a whole where peer is nil.
type reporter struct {
	recorder *Recorder
	peer     *peer
}

func (reporter) Enabled() bool { return true }

func (r reporter) Connect(ctx context.Context, address string, secure bool) context.Context {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	i := slices.IndexFunc(r.recorder.peers, func(p *peer) bool { return p.name == address })
	if i < 0 {
		i = len(r.recorder.peers)
		r.recorder.peers = append(r.recorder.peers, &peer{recorder: r.recorder, name: address, secure: secure})
	}
	p := r.recorder.peers[i]
	p.fresh = true
	if r.peer == p {
		return ctx // it has the hooks
	}
	return httptrace.WithClientTrace(context.WithValue(ctx, peerKey{}, p), p.hooks())
}

func (r reporter) Report(f Finding) {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	f.record(r.recorder, r.peer)
}

func (s Step) record(r *Recorder, _ *peer) {
	for i := range s.Facts {
		s.Facts[i] = Printable(s.Facts[i])
	}
	s.Problem, s.Do = Printable(s.Problem), Printable(s.Do)
	if i := slices.IndexFunc(r.own, func(o Step) bool { return o.Name == s.Name && o.Peer != "" && o.Peer == s.Peer }); i >= 0 {
		r.own[i] = s // on a newer connection
		return
	}
	r.own = append(r.own, s)
}

func (f Fact) record(r *Recorder, p *peer) {
	switch {
	case f.Step == Acceptance:
		r.accepted = append(r.accepted, f.Text)
	case p != nil:
		p.authenticated = append(p.authenticated, f.Text)
	}
}

func (w Warning) record(r *Recorder, _ *peer) { r.warning = &w }

func (f Failure) record(_ *Recorder, p *peer) {
	switch {
	case p == nil:
	case f == Failure{}:
		p.failed = nil
	default:
		p.failed = &f
	}
}

func (a StatusLine) record(_ *Recorder, p *peer) {
	if p != nil {
		p.failed, p.answer = nil, a
	}
}

func (v ViaProxy) record(_ *Recorder, p *peer) {
	if p == nil {
		return
	}
	p.via, p.viaSet = v.URL, v.Configured
	if v.Status != 0 {
		p.proxyStatus = v.Status
	}
}

func (c ClientCertificate) record(_ *Recorder, p *peer) {
	if p == nil {
		return
	}
	p.asked = true
	if c.Sent != nil && len(c.Sent.Certificate) > 0 {
		p.client = c.Sent
	}
}
