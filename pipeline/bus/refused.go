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

// RefusedError means that the permissions of this process's NATS user do not allow publishing or
// subscribing to a subject.
type RefusedError struct {
	// Action is "publish" or "subscribe".
	Action string
	// Subject is the refused subject.
	Subject string
	// Role is the part of ttydrain that needs it, such as "gateway".
	Role string
}

func (e *RefusedError) Error() string {
	if e.Action == "subscribe" {
		return fmt.Sprintf("this process may not subscribe to %q on NATS: add it to the subscribe permissions of the NATS user of the role %s, "+
			"or set nats.inbox_prefix to one that this user may use", e.Subject, e.Role)
	}
	return fmt.Sprintf("this process may not publish to %q on NATS: add it to the publish permissions of the NATS user of the role %s", e.Subject, e.Role)
}

// concerns reports whether an operation needs the refused permission: an operation on the stream of
// that name (KV_ and its name for a bucket), with a consumer whose name has that prefix, or with
// that very subject.
func (e *RefusedError) concerns(of string) bool {
	if e.Action == "subscribe" || e.Subject == of { // the only subscriptions are those for responses
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

// refusals lists what the server has refused on one connection. The server answers a refused
// request with an error that belongs to no request: callers that wait for a response also watch
// this list, instead of waiting for their timeout.
//
// It is a linked list that grows at its end. Nothing refers to its beginning, so that old entries
// are garbage collected.
type refusals struct {
	role string
	end  atomic.Pointer[refused] // the next refusal, which has not happened yet
}

// refused is one refusal.
type refused struct {
	happened chan struct{} // closed when the following fields are set
	what     *RefusedError
	next     *refused
}

func newRefusals(role string) *refusals {
	r := &refusals{role: role}
	r.end.Store(&refused{happened: make(chan struct{})})
	return r
}

// refusalForm matches the server's message about a refusal.
var refusalForm = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]*)"`)

// note adds a refusal if an error of the connection is one. The connection reports its errors one
// after another.
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

// follow calls refuse with the first refusal, starting at from, that concerns an operation, unless
// ctx is done before.
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

// guarded runs an operation on a stream, and ends it with a RefusedError if the server refuses a
// permission that it needs.
func guarded[T any](ctx context.Context, r *refusals, of string, work func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v, err := guardedWithin(ctx, cancel, r, of, work)
	return v, err
}

// guardedWithin is guarded for an operation that continues in ctx after it has returned.
func guardedWithin[T any](ctx context.Context, cancel context.CancelCauseFunc, r *refusals, of string, work func(context.Context) (T, error)) (T, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	// ends with watching
	go r.end.Load().follow(watching, of, func(e *RefusedError) { cancel(e) })
	v, err := work(ctx)
	if e, ok := errors.AsType[*RefusedError](context.Cause(ctx)); ok && err != nil {
		err = e
	}
	return v, err
}

// bucket is a KV bucket whose methods fail with a RefusedError if the server refuses a permission
// that they need. Writes, except for deletions, are synced to the disk when they return. All other
// methods are those of the KV bucket.
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

// watcher is a KeyWatcher whose context ends when it is stopped.
type watcher struct {
	jetstream.KeyWatcher
	cancel context.CancelCauseFunc
}

func (w watcher) Stop() error {
	defer w.cancel(nil)
	return w.KeyWatcher.Stop()
}

// stream is a stream whose methods fail with a RefusedError if the server refuses a permission that
// they need. They return no message that is not synced to the disk. All other methods are those of
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
