package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

// TestPowerFailure: confirmed data is kept after a power failure: messages, in all the blocks that
// they fill, operations, sessions and positions. Without syncs it is lost, which shows that the
// test can find a loss.
func TestPowerFailure(t *testing.T) {
	for _, test := range []struct {
		name  string
		sync  time.Duration
		keeps bool
	}{{"always", 0, true}, {"after an hour", time.Hour, false}} {
		t.Run(test.name, func(t *testing.T) {
			disk := bustest.NewPowerDisk(t, t.TempDir(), 192)
			// The power fails after little data, and after streams have filled several blocks.
			for _, messages := range []int{3, 120} {
				store := strconv.Itoa(messages)
				b, err := Open(t.Context(), Options{Store: filepath.Join(disk.Dir, store), Sync: test.sync, MaxBytes: 1 << 30})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				op := newOperation()
				if err := b.CreateOperation(t.Context(), op); err != nil {
					t.Fatal(err)
				}
				if err := b.SaveSession(t.Context(), &schema.Session{Operation: op}); err != nil {
					t.Fatal(err)
				}
				recorded := recordMany(t, b, messages)
				lease, err := b.Acquire(t.Context(), "enrich.0")
				if err != nil {
					t.Fatal(err)
				}
				if err := lease.Save(t.Context(), uint64(len(recorded))); err != nil {
					t.Fatal(err)
				}

				made := b.streams[schema.StreamTTY].CachedInfo().Created
				lacks := lacksOf(t, filepath.Join(disk.Fail(), store), made, op, recorded)
				if test.keeps && lacks != nil || !test.keeps && lacks == nil {
					t.Errorf("%d messages of each session: %v", messages, lacks)
				}
			}
		})
	}
}

// recordMany publishes messages of 30 KiB in eight sessions, and returns the data of the confirmed
// ones by sequence.
func recordMany(t *testing.T, b *Bus, messages int) map[uint64][]byte {
	t.Helper()
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		recorded = make(map[uint64][]byte) // guarded by mu
	)
	for session := range 8 {
		all.Go(func() {
			for n := range messages {
				id := fmt.Sprintf("%d.%d", session, n)
				data := bytes.Repeat([]byte(id+" "), 30<<10/(len(id)+1))
				sequence, err := b.PublishChunk(schema.SubjectTTY(newOperation(), 1), id, data).Wait(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				recorded[sequence] = data
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(recorded) != 8*messages {
		t.Fatalf("%d of %d were recorded", len(recorded), 8*messages)
	}
	return recorded
}

// lacksOf returns what a store lacks of the confirmed data, in streams created at a certain time.
func lacksOf(t *testing.T, store string, made time.Time, op *schema.Operation, recorded map[uint64][]byte) error {
	t.Helper()
	b, err := Open(t.Context(), Options{Store: store})
	if err != nil {
		return err
	}
	defer b.Close()
	if again := b.streams[schema.StreamTTY].CachedInfo().Created; !again.Equal(made) {
		return fmt.Errorf("the stream of %s was created again, %s", made, again)
	}
	reader, err := b.Read(t.Context(), schema.StreamTTY, []string{"tty.>"}, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	end, err := b.End(t.Context(), schema.StreamTTY)
	if err != nil {
		return err
	}
	if end != uint64(len(recorded)) {
		return fmt.Errorf("%d of %d messages are there", end, len(recorded))
	}
	for range recorded {
		m, err := reader.Next(t.Context())
		if err != nil {
			return err
		}
		if !bytes.Equal(m.Data, recorded[m.Sequence]) {
			return fmt.Errorf("message %d is another one", m.Sequence)
		}
	}
	next := newOperation()
	if err := b.CreateOperation(t.Context(), next); err != nil || next.ID <= op.ID {
		return fmt.Errorf("after operation %s comes %s, %w", op.ID, next.ID, err)
	}
	if sessions, err := b.Sessions(t.Context()); err != nil || len(sessions) != 1 || sessions[0].Operation.ID != op.ID {
		return fmt.Errorf("the sessions are %v, %w", sessions, err)
	}
	if p, ok, err := b.Progress(t.Context(), "enrich.0"); err != nil || !ok || p.Sequence != uint64(len(recorded)) {
		return fmt.Errorf("the position is %v, %w", p, err)
	}
	return nil
}

// disks returns a synced whose syncs wait until they are released, with an error or nil.
func disks() (s *synced, syncs chan error) {
	syncs = make(chan error)
	return &synced{sync: func() error { return <-syncs }, duration: prometheus.NewHistogram(prometheus.HistogramOpts{}), failed: func(error) {}}, syncs
}

// Publishers that arrive while the disk is busy share the next sync.
func TestSyncIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, syncs := disks()
		var done [7]error
		wait := func(sequence int) {
			done[sequence] = errors.New("waiting")
			go func() { done[sequence] = s.wait(t.Context(), uint64(sequence)) }()
			synctest.Wait()
		}
		wait(3)
		for _, sequence := range []int{4, 6, 5, 2} { // 2 is on the disk with 3
			wait(sequence)
		}
		syncs <- nil
		synctest.Wait()
		for sequence, there := range map[int]bool{2: true, 3: true, 4: false, 5: false, 6: false} {
			if (done[sequence] == nil) != there {
				t.Errorf("after the first sync, %d: %v", sequence, done[sequence])
			}
		}
		syncs <- nil
		synctest.Wait()
		for _, sequence := range []int{4, 5, 6} {
			if done[sequence] != nil {
				t.Errorf("after the second sync, %d: %v", sequence, done[sequence])
			}
		}
		wait(1)
		if done[1] != nil {
			t.Error("it waited for data that is already on the disk")
		}
	})
}

func TestSyncedClose(t *testing.T) {
	broken := errors.New("input/output error")
	gone := errors.New("gone")
	for _, test := range []struct {
		name string
		do   func(s *synced, syncs chan<- error, cancel context.CancelCauseFunc)
		want error // a publisher that waits while another sync is in progress
	}{
		{"the context ends", func(_ *synced, syncs chan<- error, cancel context.CancelCauseFunc) {
			cancel(gone)
			synctest.Wait()
			syncs <- nil
		}, gone},
		{"the disk fails", func(_ *synced, syncs chan<- error, _ context.CancelCauseFunc) { syncs <- broken }, broken},
		{"the server is started again", func(s *synced, syncs chan<- error, _ context.CancelCauseFunc) {
			s.reset()
			syncs <- nil
		}, errRestarted},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, syncs := disks()
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var failed error
				s.failed = func(err error) { failed = err }
				go s.wait(t.Context(), 1)
				synctest.Wait()
				ended := make(chan error, 1)
				go func() { ended <- s.wait(ctx, 2) }()
				synctest.Wait()
				test.do(s, syncs, cancel)
				if err := <-ended; !errors.Is(err, test.want) {
					t.Errorf("%v", err)
				}
				if errors.Is(failed, broken) != (test.want == broken) || errors.Is(s.failure(), broken) != (test.want == broken) {
					t.Errorf("it failed with %v, and %v", failed, s.failure())
				}
				if test.want == broken { // and is not retried until the server has been started again
					if err := s.wait(t.Context(), 3); !errors.Is(err, broken) {
						t.Errorf("then: %v", err)
					}
					s.reset()
				}
				go s.wait(t.Context(), 3)
				syncs <- nil
				synctest.Wait()
				if s.until.Load() != 3 {
					t.Errorf("in the end, %d is on the disk", s.until.Load())
				}
			})
		})
	}
}

// TestUnsyncedMessagesAreInvisible: nothing that is not on the disk is disclosed, neither to its
// publisher nor to a reader.
func TestUnsyncedMessagesAreInvisible(t *testing.T) {
	b := openSynced(t)
	s := b.embedded.syncedOf(schema.StreamTTY)
	toDisk, allowed := s.sync, make(chan struct{})
	s.sync = func() error {
		<-allowed
		return toDisk()
	}
	subject := schema.SubjectTTY(newOperation(), 1)
	known := make(chan string)
	tell := func(who string, learn func() error) {
		go func() {
			if err := learn(); err != nil {
				t.Errorf("%s: %v", who, err)
			}
			known <- who
		}()
	}
	publish := b.PublishChunk(subject, "1", []byte("shown"))
	tell("its publisher", func() error { _, err := publish.Wait(t.Context()); return err })
	// The stream contains it, as a reader of NATS itself sees.
	waittest.Until(t, "that the stream has the message", func() bool {
		info, err := b.streams[schema.StreamTTY].(stream).Stream.Info(t.Context())
		return err == nil && info.State.LastSeq == 1
	})
	reader, err := b.Read(t.Context(), schema.StreamTTY, []string{"tty.>"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	tell("a reader", func() error { _, err := reader.Next(t.Context()); return err })
	tell("who wants the last one", func() error { _, _, err := b.Last(t.Context(), schema.StreamTTY, subject); return err })
	tell("who wants the next one", func() error { _, _, err := b.Next(t.Context(), schema.StreamTTY, "tty.>", 0); return err })
	tell("who asks for the end", func() error { _, err := b.End(t.Context(), schema.StreamTTY); return err })
	// All except for the one that syncs have reached the point where they wait for it, or will.
	select {
	case who := <-known:
		t.Errorf("%s knows of a message that is not on the disk", who)
	default:
	}
	if s.until.Load() != 0 {
		t.Errorf("%d is on the disk", s.until.Load())
	}
	close(allowed)
	for range 5 {
		<-known
		if s.until.Load() < 1 {
			t.Error("it was disclosed too early")
		}
	}
}

// TestFailedSync: after a failed sync, the server is started again, and nothing is confirmed until
// then.
func TestFailedSync(t *testing.T) {
	b := openSynced(t)
	s := b.embedded.syncedOf(schema.StreamTTY)
	toDisk := s.sync
	fails := make(chan error, 1)
	fails <- errors.New("input/output error")
	s.sync = func() error {
		select {
		case err := <-fails:
			return err
		default:
			return toDisk()
		}
	}
	before := b.embedded.server
	subject := schema.SubjectTTY(newOperation(), 1)
	if _, err := b.PublishChunk(subject, "1", []byte("shown")).Wait(t.Context()); err == nil {
		t.Error("unsynced data was confirmed")
	}
	waittest.Until(t, "that the server takes messages again", func() bool {
		sequence, err := b.PublishChunk(subject, "1", []byte("shown")).Wait(t.Context())
		return err == nil && sequence == 1
	})
	b.embedded.mu.Lock()
	defer b.embedded.mu.Unlock()
	if b.embedded.server == before {
		t.Error("the server was not started again")
	}
}
