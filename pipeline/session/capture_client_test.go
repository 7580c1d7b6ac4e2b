package session

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// endless provides endless output, in reads of a fixed size, and counts it. It uses the time of the
// test's synctest bubble.
type endless struct {
	size  int
	every time.Duration
	read  int
	limit int // 0: none
}

func (e *endless) Read(b []byte) (int, error) {
	if e.limit > 0 && e.read >= e.limit {
		return 0, io.EOF
	}
	time.Sleep(e.every)
	n := min(e.size, len(b))
	for i := range n {
		b[i] = byte(e.read + i)
	}
	e.read += n
	return n, nil
}

func TestCaptureWithStalledClient(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int
		every time.Duration
	}{
		{"large reads", chunkBytes, 0},
		{"small reads", 100, time.Microsecond},
		{"a byte every two milliseconds", 1, 2 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, ackAll)
				r.out.take = make(chan struct{})
				r.start()
				source := &endless{size: test.size, every: test.every}
				ended := make(chan error, 1)
				go func() { ended <- r.read(schema.Stdout, source) }() // ends with source
				time.Sleep(time.Hour)
				synctest.Wait()
				first := source.read
				time.Sleep(time.Hour)
				synctest.Wait()
				if source.read != first {
					t.Errorf("read %d bytes more while the client accepts nothing", source.read-first)
				}
				most := windowBytes + 2*chunkBytes
				if test.every == 0 { // it can be ahead of the recording
					most = aheadBytes + 2*chunkBytes
				}
				if first > most || test.size == 1 && first > most/frameBytes {
					t.Errorf("read %d bytes", first)
				}
				if test.size > 1 && first < windowBytes/3 {
					t.Errorf("read only %d bytes", first)
				}
				// Window changes wait as well.
				resizes := 0
				changing := make(chan struct{})
				go func() { // ends with rush
					defer close(changing)
					for range 100_000 {
						r.event(schema.Frame{Kind: schema.FrameResize, Payload: []byte("{}")})
						r.mu.Lock()
						resizes++
						r.mu.Unlock()
					}
				}()
				synctest.Wait()
				r.mu.Lock()
				if resizes > aheadBytes/frameBytes {
					t.Errorf("%d window changes taken", resizes)
				}
				r.mu.Unlock()

				// After the end of the session, the rest is recorded, although the client still accepts
				// nothing.
				source.limit = source.read + 50_000
				r.expedite()
				r.expedite()
				if err := <-ended; err != nil {
					t.Errorf("read: %v", err)
				}
				<-changing
				r.finish(endFrame())
				<-r.recorded
				if got := r.tape.recorded(schema.Stdout); len(got) != source.read {
					t.Errorf("recorded %d bytes of %d", len(got), source.read)
				}
				if frames := r.tape.check(); frames[len(frames)-1].Kind != schema.FrameEnd {
					t.Error("no end")
				}
				select {
				case <-r.done:
					t.Error("shown to a client that accepts nothing")
				default:
				}
				r.stop(errOver)
				close(r.out.take)
				<-r.done
			})
		})
	}
}

// TestSlowClient: a slow client slows down the program, and receives everything.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ackAll)
		r.out.take = make(chan struct{})
		r.start()
		var client sync.WaitGroup
		defer client.Wait()
		client.Go(func() { // ends with the capture
			for {
				select {
				case r.out.take <- struct{}{}:
					time.Sleep(10 * time.Millisecond)
				case <-r.done:
					return
				}
			}
		})
		source := &endless{size: 5000, limit: 5 << 20}
		if err := r.read(schema.Stdout, source); err != nil {
			t.Fatal(err)
		}
		r.finish(endFrame())
		<-r.done
		if shown := r.out.text(); len(shown) != source.read || !bytes.Equal([]byte(shown), r.tape.recorded(schema.Stdout)) {
			t.Errorf("shown %d bytes of %d", len(shown), source.read)
		}
		r.stop(errOver)
	})
}

func TestCaptureAfterDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ackAll)
		r.out.gone = true
		r.start()
		source := &endless{size: 10_000, limit: 3 << 20}
		if err := r.read(schema.Stdout, source); err != nil {
			t.Fatal(err)
		}
		r.finish(endFrame())
		<-r.done
		if got := r.tape.recorded(schema.Stdout); len(got) != source.read || r.out.text() != "" {
			t.Errorf("recorded %d bytes of %d, shown %d", len(got), source.read, len(r.out.text()))
		}
		r.tape.check()
		r.stop(errOver)
	})
}
