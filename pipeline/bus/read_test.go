package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/waittest"
	"github.com/ttydrain/ttydrain/schema"
)

func next(t testing.TB, r *Reader) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t testing.TB, b *Bus, filters []string, after uint64) *Reader {
	t.Helper()
	r, err := b.Read(t.Context(), schema.StreamTTY, filters, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestRead(t *testing.T) {
	b := open(t, t.TempDir(), 3)
	const n = 3000
	subject := func(i int) string { return fmt.Sprintf("tty.%d.default.web.%d", i%3, i%7) }
	var all []*Publish
	for i := range n {
		all = append(all, b.PublishChunk(subject(i), strconv.Itoa(i), []byte(strconv.Itoa(i))))
	}
	for _, p := range all {
		wait(t, p)
	}
	for _, test := range []struct {
		name    string
		filters []string
		after   uint64
		want    func(i int) bool
	}{
		{"all", []string{"tty.>"}, 0, func(int) bool { return true }},
		{"after a position", []string{"tty.>"}, 1234, func(i int) bool { return i >= 1234 }},
		{"a partition", []string{schema.FilterTTY(1)}, 0, func(i int) bool { return i%3 == 1 }},
		{"a partition after a position", []string{schema.FilterTTY(1)}, 1000, func(i int) bool { return i%3 == 1 && i >= 1000 }},
		{"two partitions", []string{schema.FilterTTY(0), schema.FilterTTY(2)}, 0, func(i int) bool { return i%3 != 1 }},
		{"one operation", []string{"tty.*.*.*.5"}, 0, func(i int) bool { return i%7 == 5 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := read(t, b, test.filters, test.after)
			var pending uint64
			for i := range n {
				if !test.want(i) {
					continue
				}
				m := next(t, r)
				if string(m.Data) != strconv.Itoa(i) || m.Sequence != uint64(i+1) || m.Subject != subject(i) || m.Time.IsZero() {
					t.Fatalf("message %d is %+v", i, m)
				}
				pending = m.Pending
			}
			if pending != 0 {
				t.Errorf("after the last one, %d are pending", pending)
			}
		})
	}
}

func TestReadWaitsForNewMessages(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	// A position after the end of the stream is valid: there are no new messages.
	wait(t, b.PublishChunk("tty.0.default.web.1", "0", []byte("0")))
	r := read(t, b, []string{"tty.>"}, 1)
	got := make(chan Message)
	go func() { // ends after the later messages
		for range 10 {
			m, err := r.Next(t.Context())
			if err != nil {
				t.Error(err)
				close(got)
				return
			}
			got <- m
		}
	}()
	for i := 1; i <= 10; i++ {
		sequence := wait(t, b.PublishChunk("tty.0.default.web.1", strconv.Itoa(i), []byte(strconv.Itoa(i))))
		if m := <-got; m.Sequence != sequence || string(m.Data) != strconv.Itoa(i) {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
}

func TestReadEndsWithTheContext(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	r := read(t, b, []string{"tty.>"}, 0)
	why := errors.New("a test")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { // ends with ctx
		_, err := r.Next(ctx)
		ended <- err
	}()
	cancel(why)
	if err := <-ended; err != why {
		t.Errorf("%v", err)
	}
	if _, err := r.Next(ctx); err != why {
		t.Errorf("%v", err)
	}
	// The reader itself continues.
	wait(t, b.PublishChunk("tty.0.default.web.1", "0", []byte("0")))
	if m := next(t, r); m.Sequence != 1 {
		t.Errorf("%+v", m)
	}
	r.Close()
	if _, err := r.Next(t.Context()); err == nil {
		t.Error("read after Close")
	}
	r.Close()
	if _, err := b.Read(t.Context(), "NONE", []string{"tty.>"}, 0); err == nil {
		t.Error("read no stream")
	}
}

// TestReadWithoutServer: neither Next nor Close waits for the server.
func TestReadWithoutServer(t *testing.T) {
	t.Parallel()
	b := open(t, t.TempDir(), 1)
	r := read(t, b, []string{"tty.>"}, 0)
	b.embedded.stop()
	// The iterator has noticed, and is reconnecting.
	waittest.Until(t, "the connection is lost", func() bool { return !b.conn.IsConnected() })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("a test"))
	defer cancel()
	if _, err := r.Next(ctx); err == nil {
		t.Error("read without a server")
	}
	r.Close()
	select {
	case <-r.gone:
		t.Error("Close has waited for the stopped server")
	default:
	}
	<-r.gone
}

func TestLastNextEnd(t *testing.T) {
	b := open(t, t.TempDir(), 1)
	if end, err := b.End(t.Context(), schema.StreamTTY); err != nil || end != 0 {
		t.Errorf("the end of an empty stream is %d, %v", end, err)
	}
	if _, ok, err := b.Last(t.Context(), schema.StreamTTY, "tty.0.a.b.1"); err != nil || ok {
		t.Errorf("the last of an empty stream: %t, %v", ok, err)
	}
	if _, ok, err := b.Next(t.Context(), schema.StreamTTY, "tty.>", 0); err != nil || ok {
		t.Errorf("the next of an empty stream: %t, %v", ok, err)
	}
	for i, operation := range []string{"1", "2", "1", "2", "3"} {
		wait(t, b.PublishChunk("tty.0.a.b."+operation, strconv.Itoa(i), []byte(strconv.Itoa(i))))
	}
	if end, err := b.End(t.Context(), schema.StreamTTY); err != nil || end != 5 {
		t.Errorf("the end is %d, %v", end, err)
	}
	m, ok, err := b.Last(t.Context(), schema.StreamTTY, "tty.0.a.b.1")
	if err != nil || !ok || m.Sequence != 3 || string(m.Data) != "2" || m.Subject != "tty.0.a.b.1" || m.Time.IsZero() {
		t.Errorf("%+v, %t, %v", m, ok, err)
	}
	if _, ok, err := b.Last(t.Context(), schema.StreamTTY, "tty.0.a.b.4"); err != nil || ok {
		t.Errorf("the last of no operation: %t, %v", ok, err)
	}
	var all []uint64
	for at := uint64(0); ; {
		sequence, ok, err := b.Next(t.Context(), schema.StreamTTY, "tty.0.a.b.2", at)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		all, at = append(all, sequence), sequence
	}
	if !slices.Equal(all, []uint64{2, 4}) {
		t.Errorf("the messages of an operation are %d", all)
	}
	if _, ok, err := b.Next(t.Context(), schema.StreamTTY, "tty.>", 1000); err != nil || ok {
		t.Errorf("the next past the end: %t, %v", ok, err)
	}
}
