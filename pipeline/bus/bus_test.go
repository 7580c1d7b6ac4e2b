package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// open opens a bus with an embedded server that does not sync every write: the tests do not
// simulate a power failure.
func open(t testing.TB, dir string, partitions int) *Bus {
	t.Helper()
	b, err := Open(t.Context(), Options{Store: dir, Sync: time.Hour, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// openSynced opens a bus with an embedded server in its default configuration: nothing is
// acknowledged before it is on the disk.
func openSynced(t testing.TB) *Bus {
	t.Helper()
	b, err := Open(t.Context(), Options{Store: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func newOperation() *schema.Operation {
	return &schema.Operation{App: "web", Stack: "default", User: schema.User{ID: "u-1"}}
}

func createOperation(t testing.TB, b *Bus) uint64 {
	t.Helper()
	op := newOperation()
	if err := b.CreateOperation(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseUint(op.ID, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOperationIDs(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	var last uint64
	for range 3 {
		id := createOperation(t, b)
		if id <= last {
			t.Fatalf("operation %d after %d", id, last)
		}
		last = id
	}
	// The ID is the sequence of the record.
	op := newOperation()
	op.ID = "one that it had before"
	if err := b.CreateOperation(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	entries := records(t, b.operations)
	record := entries[len(entries)-1]
	if strconv.FormatUint(record.Revision(), 10) != op.ID || bytes.Contains(record.Value(), []byte("before")) {
		t.Errorf("operation %s has record %d: %s", op.ID, record.Revision(), record.Value())
	}

	const each, workers = 50, 8
	ids := make([][]uint64, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				ids[i] = append(ids[i], createOperation(t, b))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(ids...)
	for i := range ids {
		if !slices.IsSorted(ids[i]) {
			t.Errorf("the IDs do not grow: %d", ids[i])
		}
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != each*workers {
		t.Error("an ID was assigned twice")
	}
	last = all[len(all)-1]

	b.Close()
	b = open(t, dir, 1)
	if id := createOperation(t, b); id <= last {
		t.Errorf("operation %d after %d and a new start", id, last)
	}
	if n := len(records(t, b.operations)); n != 4+each*workers+1 {
		t.Errorf("%d records", n)
	}
}

// TestOperationIDsAreNotReused: an ID is not assigned again after all data about operations was
// deleted and the process was killed.
func TestOperationIDsAreNotReused(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), Options{Store: dir}) // synced, as by default
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	last := uint64(0)
	for range 3 {
		for range 5 {
			last = createOperation(t, b)
		}
		stream, err := b.js.Stream(t.Context(), "KV_"+schema.BucketOperations)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		if config.MaxAge != Retention+maxSessionAge {
			t.Errorf("operations are kept for %s", config.MaxAge)
		}
		config.MaxAge, config.Duplicates = 100*time.Millisecond, 100*time.Millisecond
		if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "all operations are gone", func() bool {
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return info.State.Msgs == 0
		})
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if b, err = Open(t.Context(), Options{Store: killed}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if id := createOperation(t, b); id != last+1 {
			t.Errorf("operation %d after %d, of which no data is left", id, last)
		}
		dir = killed
	}
}

// records returns all entries of a bucket, in the order of their revisions.
func records(t testing.TB, bucket jetstream.KeyValue) (all []jetstream.KeyValueEntry) {
	t.Helper()
	keys, err := bucket.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		entry, err := bucket.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry)
	}
	slices.SortFunc(all, func(a, b jetstream.KeyValueEntry) int { return int(a.Revision()) - int(b.Revision()) })
	return all
}

func TestOperationOfAnyName(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	for _, name := range []string{"", "a.b", "*", ">", "größe", "a b", strings.Repeat("x", 300)} {
		op := newOperation()
		op.App, op.Stack = name, name
		if err := b.CreateOperation(t.Context(), op); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := b.PublishChunk(schema.SubjectTTY(op, 1), op.ID, []byte("x")).Wait(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSessions(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	if all, err := b.Sessions(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("%d sessions at first, %v", len(all), err)
	}
	for range 3 {
		op := newOperation()
		if err := b.CreateOperation(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		if err := b.SaveSession(t.Context(), &schema.Session{Operation: op, Gateway: "g"}); err != nil {
			t.Fatal(err)
		}
	}
	status := 3
	ended := &schema.Session{Operation: &schema.Operation{ID: "2"}, Gateway: "g", Ended: time.Unix(1, 0).UTC(), Reason: "exit", ExitStatus: &status, Bytes: 7}
	if err := b.SaveSession(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b = open(t, dir, 1)
	all, err := b.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b schema.Session) int { return strings.Compare(a.Operation.ID, b.Operation.ID) })
	if len(all) != 3 {
		t.Fatalf("%d sessions", len(all))
	}
	for i, s := range all {
		isEnded := i == 1
		if s.Operation.ID != strconv.Itoa(i+1) || s.Gateway != "g" || s.Ended.IsZero() == isEnded {
			t.Errorf("session %d is %+v of operation %+v", i, s, s.Operation)
		}
	}
	if s := all[1]; s.Reason != "exit" || *s.ExitStatus != 3 || s.Bytes != 7 || !s.Ended.Equal(ended.Ended) {
		t.Errorf("the session that ended is %+v", s)
	}
	// An unreadable state is skipped, and logged without a quote of it.
	var told bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&told, nil))
	for _, key := range []string{"8", "9"} {
		if _, err := b.sessions.Put(t.Context(), key, []byte("secret")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if all, err := b.Sessions(t.Context()); err != nil || len(all) != 3 || b.Unreadable() != 2 {
			t.Errorf("%d sessions, %d unreadable, %v", len(all), b.Unreadable(), err)
		}
	}
	if text := told.String(); !strings.Contains(text, "key=9") || strings.Contains(text, "secret") {
		t.Errorf("logged: %s", text)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("a test")
	cancel(why)
	if _, err := b.Sessions(ctx); err == nil {
		t.Error("sessions were listed after the end of the context")
	}
}

// TestSlotsLapse: the slots of a dead gateway are free within the documented minute.
func TestSlotsLapse(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	status, err := b.slots.Status(t.Context())
	if err != nil || status.TTL() != SlotTTL || SlotTTL > 50*time.Second {
		t.Errorf("a slot that is not renewed is kept for %s, %v", status.TTL(), err)
	}
}

func TestStoreInUse(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 1)
	_, err := Open(t.Context(), Options{Store: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "stop that one, or configure another store for this one") {
		t.Fatalf("%v", err)
	}
	if err := b.Ready(t.Context()); err != nil {
		t.Fatalf("after that the first one: %v", err)
	}
	b.Close()
	open(t, dir, 1)
}

func TestStoreUnusable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Store: filepath.Join(file, "store")}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a store in a file: %v", err)
	}
	if _, err := Open(t.Context(), Options{URL: "nats://127.0.0.1:1"}); err == nil {
		t.Error("connected to nothing")
	}
}

func TestExistingStreamsKeepPartitions(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 4)
	if b.Partitions() != 4 {
		t.Fatalf("%d partitions", b.Partitions())
	}
	b.Close()
	for _, other := range []int{0, 1, 7} {
		b := open(t, dir, other)
		if b.Partitions() != 4 {
			t.Errorf("%d partitions, opened with %d", b.Partitions(), other)
		}
		b.Close()
	}
	// A stream with another owner is refused, and not changed.
	b = open(t, dir, 4)
	config := b.streams[schema.StreamLogs].CachedInfo().Config
	config.Metadata = nil
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := Open(t.Context(), Options{Store: dir}); err == nil || !strings.Contains(err.Error(), "the stream LOGS was not created by ttydrain") {
		t.Errorf("%v", err)
	}
}

func TestSync(t *testing.T) {
	for _, test := range []struct{ sync, interval time.Duration }{{0, syncBlocks}, {time.Second, time.Second}} {
		b, err := Open(t.Context(), Options{Store: t.TempDir(), Sync: test.sync})
		if err != nil {
			t.Fatal(err)
		}
		config := b.embedded.server.JetStreamConfig()
		if config.SyncAlways || config.SyncInterval != test.interval {
			t.Errorf("%s: always %t, every %s", test.sync, config.SyncAlways, config.SyncInterval)
		}
		for _, name := range []string{schema.StreamTTY, schema.StreamLogs, schema.StreamDeadLetter} {
			if waits := b.streams[name].(stream).synced != nil; waits != (test.sync == 0) {
				t.Errorf("%s: writes to %s wait for the disk: %t", test.sync, name, waits)
			}
		}
		b.Close()
	}
}

func TestStreams(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	for _, name := range []string{schema.StreamTTY, schema.StreamLogs, schema.StreamDeadLetter} {
		config := b.streams[name].CachedInfo().Config
		if config.Discard != jetstream.DiscardNew && name != schema.StreamAudit || config.Storage != jetstream.FileStorage || config.Retention != jetstream.LimitsPolicy ||
			config.MaxAge != Retention || config.Duplicates < time.Minute {
			t.Errorf("the stream %s is %+v", name, config)
		}
	}
	if addr := b.embedded.server.Addr(); addr != nil {
		t.Errorf("the embedded server listens on %s", addr)
	}
}

// TestCloseKeepsAcknowledgedMessages: acknowledged messages survive a restart, both after Close and
// with the files of a killed process.
func TestCloseKeepsAcknowledgedMessages(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), Options{Store: dir}) // synced, as by default
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	const n = 500
	var all []*Publish
	for i := range n {
		all = append(all, b.PublishChunk("tty.0.default.web.1", strconv.Itoa(i), fmt.Appendf(nil, "chunk %d", i)))
	}
	for _, p := range all {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil { // while the server has the files open
		t.Fatal(err)
	}
	b.Close()
	for _, dir := range []string{dir, crashed} {
		b := open(t, dir, 1)
		r, err := b.Read(t.Context(), schema.StreamTTY, []string{"tty.>"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if m := next(t, r); string(m.Data) != fmt.Sprintf("chunk %d", i) || m.Sequence != uint64(i+1) {
				t.Fatalf("message %d is %q at %d", i, m.Data, m.Sequence)
			}
		}
		r.Close()
		// A repeat is still detected.
		if sequence, err := b.PublishChunk("tty.0.default.web.1", "7", []byte("chunk 7")).Wait(t.Context()); err != nil || sequence != 8 {
			t.Errorf("a repeat after the new start: sequence %d, %v", sequence, err)
		}
		b.Close()
	}
}

func TestCloseReleasesResources(t *testing.T) {
	ours := func() (stacks []string) {
		buffer := make([]byte, 4<<20)
		for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if strings.Contains(stack, "nats-io") || strings.Contains(stack, "pipeline/bus.(") {
				stacks = append(stacks, stack)
			}
		}
		return stacks
	}
	b := open(t, t.TempDir(), 2)
	r, err := b.Read(t.Context(), schema.StreamTTY, []string{"tty.>"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PublishChunk("tty.0.default.web.1", "1", []byte("x")).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	next(t, r)
	if _, err := b.Sessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := b.Acquire(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	if len(ours()) == 0 {
		t.Fatal("no goroutine found: the test tests nothing")
	}
	l.Release()
	r.Close()
	b.Close()
	b.Close() // may be called twice
	// The server's goroutines end shortly after its shutdown.
	var left []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for left = ours(); len(left) > 0 && ctx.Err() == nil; left = ours() {
		<-tick.C
	}
	if len(left) > 0 {
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	b := open(t, t.TempDir(), 1)
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.embedded.stop()
	if err := b.Ready(t.Context()); err == nil {
		t.Error("ready without a server")
	}
}

// TestServerLog: the server's errors are logged, its other messages are not.
func TestServerLog(t *testing.T) {
	var out bytes.Buffer
	l := serverLog{slog.New(slog.NewTextHandler(&out, nil)), nil}
	l.Noticef("chatter %d", 1)
	l.Debugf("chatter %d", 2)
	l.Tracef("chatter %d", 3)
	l.Warnf("warning %d", 4)
	l.Errorf("error %d", 5)
	l.Fatalf("error %d", 6)
	if s := out.String(); strings.Contains(s, "chatter") || strings.Count(s, "level=WARN") != 1 || strings.Count(s, "level=ERROR") != 2 {
		t.Errorf("%s", s)
	}
}
