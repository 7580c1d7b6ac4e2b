package bus

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A RefusedError says that the NATS server did not let this process publish or subscribe to a
// subject: the permissions of its user do not have it.
type RefusedError struct {
	// Action is "publish" or "subscribe".
	Action string
	// Subject is what was refused.
	Subject string
	// Role is the part of ttydrain that needs it, such as "gateway".
	Role string
}

func (e *RefusedError) Error() string {
	if e.Action == "subscribe" {
		return fmt.Sprintf("NATS refuses to let this process subscribe to %q: allow it among what the NATS user of the role %s may subscribe to, "+
			"or set nats.inbox_prefix to the one that this user may have", e.Subject, e.Role)
	}
	return fmt.Sprintf("NATS refuses to let this process publish to %q: allow it among what the NATS user of the role %s may publish to", e.Subject, e.Role)
}

// concerns says whether work needs what was refused: work with the stream of that name (KV_ and its
// name for a bucket), with a consumer whose name begins so, or with that very subject.
func (e *RefusedError) concerns(of string) bool {
	if e.Action == "subscribe" || e.Subject == of { // nothing is subscribed to but where the answers come
		return true
	}
	if bucket, ok := strings.CutPrefix(of, "KV_"); ok && strings.HasPrefix(e.Subject, "$KV."+bucket+".") {
		return true
	}
	if !strings.HasPrefix(e.Subject, "$JS.") {
		return false
	}
	for token := range strings.SplitSeq(e.Subject, ".") {
		if token == of || strings.HasPrefix(token, of+"_") && !strings.HasPrefix(of, "KV_") {
			return true
		}
	}
	return false
}

// refusals is what the server has refused one connection. It answers a request that it refuses with
// an error that belongs to no request: whoever waits for an answer looks here as well, and does not
// wait until the time is over.
//
// It is a list that grows at its end. Nobody holds its beginning, so that what was seen is
// forgotten.
type refusals struct {
	role string
	end  atomic.Pointer[refused] // that has not happened yet
}

// refused is one refusal.
type refused struct {
	happened chan struct{} // closed when what follows is set
	what     *RefusedError
	next     *refused
}

func newRefusals(role string) *refusals {
	r := &refusals{role: role}
	r.end.Store(&refused{happened: make(chan struct{})})
	return r
}

// refusalForm is how the server tells a refusal.
var refusalForm = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]*)"`)

// note adds what an error of the connection tells, where it tells a refusal. The connection tells
// its errors one after the other.
func (r *refusals) note(err error) *RefusedError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	m := refusalForm.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	action := "publish"
	if strings.EqualFold(m[1], "subscription") {
		action = "subscribe"
	}
	last := r.end.Load()
	last.what = &RefusedError{Action: action, Subject: m[2], Role: r.role}
	last.next = &refused{happened: make(chan struct{})}
	r.end.Store(last.next)
	close(last.happened)
	return last.what
}

// follow calls refuse with the first refusal from one on that concerns work, unless ctx is done
// before.
func (from *refused) follow(ctx context.Context, of string, refuse func(*RefusedError)) {
	for {
		select {
		case <-from.happened:
			if from.what.concerns(of) {
				refuse(from.what)
				return
			}
			from = from.next
		case <-ctx.Done():
			return
		}
	}
}

// guarded does work with a stream, and ends it with a RefusedError where the server refuses what it
// needs.
func guarded[T any](ctx context.Context, r *refusals, of string, work func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v, err := guardedWithin(ctx, cancel, r, of, work)
	return v, err
}

// guardedWithin is guarded for work that goes on in ctx after it has returned.
func guardedWithin[T any](ctx context.Context, cancel context.CancelCauseFunc, r *refusals, of string, work func(context.Context) (T, error)) (T, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	// Ends with watching.
	go r.end.Load().follow(watching, of, func(e *RefusedError) { cancel(e) })
	v, err := work(ctx)
	if e, ok := errors.AsType[*RefusedError](context.Cause(ctx)); ok && err != nil {
		err = e
	}
	return v, err
}

// A bucket is a KV bucket whose calls end with a RefusedError where the server refuses what they
// need. What they write, and do not remove, is on the disk when they return. The calls that it does
// not have itself are those of the KV bucket.
type bucket struct {
	jetstream.KeyValue
	refusals *refusals
	synced   *synced
}

func (k bucket) stream() string { return "KV_" + k.Bucket() }

func (k bucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	return guarded(ctx, k.refusals, k.stream(), func(ctx context.Context) (jetstream.KeyValueEntry, error) { return k.KeyValue.Get(ctx, key) })
}

func (k bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return k.write(ctx, func(ctx context.Context) (uint64, error) { return k.KeyValue.Put(ctx, key, value) })
}

func (k bucket) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	return k.write(ctx, func(ctx context.Context) (uint64, error) { return k.KeyValue.Create(ctx, key, value, opts...) })
}

func (k bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return k.write(ctx, func(ctx context.Context) (uint64, error) { return k.KeyValue.Update(ctx, key, value, revision) })
}

func (k bucket) write(ctx context.Context, write func(context.Context) (uint64, error)) (revision uint64, err error) {
	if revision, err = guarded(ctx, k.refusals, k.stream(), write); err != nil {
		return 0, err
	}
	return revision, k.synced.wait(ctx, revision)
}

func (k bucket) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	_, err := guarded(ctx, k.refusals, k.stream(), func(ctx context.Context) (struct{}, error) { return struct{}{}, k.KeyValue.Delete(ctx, key, opts...) })
	return err
}

func (k bucket) Purge(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	_, err := guarded(ctx, k.refusals, k.stream(), func(ctx context.Context) (struct{}, error) { return struct{}{}, k.KeyValue.Purge(ctx, key, opts...) })
	return err
}

func (k bucket) Watch(ctx context.Context, keys string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return k.watch(ctx, func(ctx context.Context) (jetstream.KeyWatcher, error) { return k.KeyValue.Watch(ctx, keys, opts...) })
}

func (k bucket) WatchAll(ctx context.Context, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return k.watch(ctx, func(ctx context.Context) (jetstream.KeyWatcher, error) { return k.KeyValue.WatchAll(ctx, opts...) })
}

func (k bucket) watch(ctx context.Context, watch func(context.Context) (jetstream.KeyWatcher, error)) (jetstream.KeyWatcher, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w, err := guardedWithin(ctx, cancel, k.refusals, k.stream(), watch)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return watcher{w, cancel}, nil
}

// A watcher is one whose context ends when it is stopped.
type watcher struct {
	jetstream.KeyWatcher
	cancel context.CancelCauseFunc
}

func (w watcher) Stop() error {
	defer w.cancel(nil)
	return w.KeyWatcher.Stop()
}

// A stream is a stream whose calls end with a RefusedError where the server refuses what they need.
// They tell of nothing that is not on the disk. The calls that it does not have itself are those of
// the stream.
type stream struct {
	jetstream.Stream
	name     string
	refusals *refusals
	synced   *synced
}

func (s stream) Info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := guarded(ctx, s.refusals, s.name, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.Stream.Info(ctx, opts...) })
	if err != nil {
		return nil, err
	}
	return info, s.synced.wait(ctx, info.State.LastSeq)
}

func (s stream) GetMsg(ctx context.Context, sequence uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return s.read(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.Stream.GetMsg(ctx, sequence, opts...)
	})
}

func (s stream) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	return s.read(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.Stream.GetLastMsgForSubject(ctx, subject)
	})
}

func (s stream) read(ctx context.Context, read func(context.Context) (*jetstream.RawStreamMsg, error)) (*jetstream.RawStreamMsg, error) {
	m, err := guarded(ctx, s.refusals, s.name, read)
	if err != nil {
		return nil, err
	}
	return m, s.synced.wait(ctx, m.Sequence)
}

func (s stream) DeleteMsg(ctx context.Context, sequence uint64) error {
	_, err := guarded(ctx, s.refusals, s.name, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.Stream.DeleteMsg(ctx, sequence) })
	return err
}
