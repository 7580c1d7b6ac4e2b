package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestCaptureSchedules: with random behavior and timing of the writers, the stream and the client,
// everything is recorded once, in order and without gaps, and shown exactly, and never before it is
// recorded (which the screens check).
func TestCaptureSchedules(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anySchedule(t, seed) })
		})
	}
}

func anySchedule(t *testing.T, seed uint64) {
	source := rand.New(rand.NewPCG(seed, 1))
	var lock sync.Mutex // of source
	random := func(n int) int {
		lock.Lock()
		defer lock.Unlock()
		return source.IntN(n)
	}
	pause := func(most time.Duration) { time.Sleep(time.Duration(random(int(most) + 1))) }
	slowest := []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 2 * time.Second}
	ackDelay, writeDelay, takeDelay := slowest[random(4)], slowest[random(3)], slowest[random(3)]
	refusals := []int{0, 3, 30}[random(3)] // of 100

	// The stream refuses chunks for at most a fifth of recordGrace, for all chunks in flight together.
	// Afterwards it accepts them without a delay until none is in flight.
	var (
		mu       sync.Mutex // guards what follows
		inFlight int
		refused  time.Time // when a chunk in flight was first refused
	)
	recovered := func() bool { return !refused.IsZero() && time.Since(refused) >= recordGrace/5 }
	r := newRig(t, func(a *attempt) {
		mu.Lock()
		defer mu.Unlock()
		if a.repeat == 0 {
			inFlight++
		}
		delay := ackDelay
		if recovered() {
			delay = 0
		}
		go func() { // ends after its pause
			pause(delay)
			mu.Lock()
			defer mu.Unlock()
			if a.repeat < 3 && !recovered() && random(100) < refusals {
				if refused.IsZero() {
					refused = time.Now()
				}
				if random(2) == 0 { // stored, but the acknowledgement was lost
					lost := &attempt{tape: a.tape, id: a.id, data: a.data, copy: a.copy, chunk: a.chunk, result: make(chan error, 1)}
					lost.ack()
				}
				a.refuse()
				return
			}
			if inFlight--; inFlight == 0 {
				refused = time.Time{}
			}
			a.ack()
		}()
	})
	r.out.take, r.err.take = make(chan struct{}), make(chan struct{})
	r.start()
	var client sync.WaitGroup
	defer client.Wait()
	for _, s := range []*screen{r.out, r.err} {
		client.Go(func() { // ends with the capture
			for {
				pause(takeDelay)
				select {
				case s.take <- struct{}{}:
				case <-r.done:
					return
				}
			}
		})
	}
	var written [2][]byte
	var events int
	var work sync.WaitGroup
	for stream := range schema.Stream(2) {
		work.Go(func() {
			kind := schema.FrameStdout
			if stream == schema.Stderr {
				kind = schema.FrameStderr
			}
			for range random(60) {
				pause(writeDelay)
				b := make([]byte, 1+random(1<<random(17)))
				for i := range b {
					b[i] = byte(len(written[stream]) + i*7)
				}
				if !r.write(kind, b) {
					t.Error("a write was not accepted")
				}
				written[stream] = append(written[stream], b...)
				clear(b) // the writer keeps its buffer
			}
		})
	}
	work.Go(func() {
		for range random(20) {
			pause(writeDelay)
			r.event(schema.Frame{Kind: schema.FrameResize, Time: time.Now().UnixNano(), Payload: []byte("{}")})
			events++
			if random(4) == 0 {
				if err := r.settle(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	work.Wait()
	r.finish(endFrame())
	<-r.done
	if err := r.settle(); err != nil {
		t.Error(err)
	}
	r.mu.Lock()
	if r.window != 0 || r.inFlight != 0 || r.bytes != 0 {
		t.Errorf("at the end the window is %d, %d chunks are in flight, %d bytes wait", r.window, r.inFlight, r.bytes)
	}
	r.mu.Unlock()
	r.stop(errOver)
	frames := r.tape.check()
	resizes := 0
	for _, f := range frames {
		if f.Kind == schema.FrameResize {
			resizes++
		}
	}
	if resizes != events || frames[len(frames)-1].Kind != schema.FrameEnd {
		t.Errorf("%d events of %d, frames %s", resizes, events, kinds(frames))
	}
	for stream, s := range []*screen{r.out, r.err} {
		if got := r.tape.recorded(schema.Stream(stream)); !bytes.Equal(got, written[stream]) {
			t.Errorf("stream %d: recorded %d bytes, written %d", stream, len(got), len(written[stream]))
		}
		if s.text() != string(written[stream]) {
			t.Errorf("stream %d: shown %d bytes, written %d", stream, len(s.text()), len(written[stream]))
		}
	}
	if total := uint64(len(written[0]) + len(written[1])); r.total() != total {
		t.Errorf("a total of %d, written %d", r.total(), total)
	}
}
