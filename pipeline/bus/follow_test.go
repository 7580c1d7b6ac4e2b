package bus

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A scriptedBucket is a bucket whose watches deliver some updates, and end then or block.
type scriptedBucket struct {
	jetstream.KeyValue
	updates []jetstream.KeyValueEntry
	ends    bool
}

func (b scriptedBucket) Watch(context.Context, string, ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	w := scriptedWatch{updates: make(chan jetstream.KeyValueEntry, len(b.updates))}
	for _, u := range b.updates {
		w.updates <- u
	}
	if b.ends {
		close(w.updates)
	}
	return w, nil
}

type scriptedWatch struct {
	jetstream.KeyWatcher
	updates chan jetstream.KeyValueEntry
}

func (w scriptedWatch) Updates() <-chan jetstream.KeyValueEntry { return w.updates }
func (w scriptedWatch) Stop() error                             { return nil }

type namedEntry struct {
	jetstream.KeyValueEntry
	key string
}

func (e namedEntry) Key() string { return e.key }

// TestList holds that a list is complete or an error: a watch that ends early lists nothing.
func TestList(t *testing.T) {
	one, two := namedEntry{key: "one"}, namedEntry{key: "two"}
	broken := errors.New("broken")
	for _, test := range []struct {
		name      string
		bucket    scriptedBucket
		cancelled bool
		each      error
		listed    int
		want      string // in the error
	}{
		{"complete", scriptedBucket{updates: []jetstream.KeyValueEntry{one, two, nil}}, false, nil, 2, ""},
		{"with later changes", scriptedBucket{updates: []jetstream.KeyValueEntry{one, nil, two}}, false, nil, 1, ""},
		{"ended early", scriptedBucket{updates: []jetstream.KeyValueEntry{one}, ends: true}, false, nil, 1, "list them: the connection to NATS has ended"},
		{"unreadable", scriptedBucket{updates: []jetstream.KeyValueEntry{one, two, nil}}, false, broken, 1, "list them: broken"},
		{"cancelled", scriptedBucket{}, true, nil, 0, "list them: context canceled"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if test.cancelled {
			cancel()
		}
		listed := 0
		err := list(ctx, test.bucket, ">", "list them", func(jetstream.KeyValueEntry) error { listed++; return test.each })
		cancel()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || listed != test.listed {
			t.Errorf("%s: %v after %d entries", test.name, err, listed)
		}
	}
}
