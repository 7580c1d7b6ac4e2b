package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestOutputIsShownAfterAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, holdAll).start()
		expect := func(published int, shown string) {
			t.Helper()
			synctest.Wait()
			n, _ := r.tape.published()
			if n != published || r.out.text() != shown {
				t.Fatalf("%d published, shown %q; expected %d and %q", n, r.out.text(), published, shown)
			}
		}
		r.write(schema.FrameStdout, []byte("one "))
		expect(1, "")
		time.Sleep(time.Hour)
		expect(1, "")
		r.write(schema.FrameStdout, []byte("two "))
		time.Sleep(chunkDelay)
		expect(2, "")
		r.write(schema.FrameStdout, []byte("three "))
		time.Sleep(chunkDelay)
		expect(3, "")
		// The acknowledgement of a later chunk shows nothing.
		r.tape.attempts[1].ack()
		expect(3, "")
		r.tape.attempts[0].ack()
		expect(3, "one two ")
		r.tape.attempts[2].ack()
		expect(3, "one two three ")
		r.finish(endFrame())
		expect(4, "one two three ")
		select {
		case <-r.done:
			t.Fatal("done before the end is recorded")
		default:
		}
		r.tape.attempts[3].ack()
		<-r.done
		if got := kinds(r.tape.check()); got != "oooE" {
			t.Errorf("frames %s", got)
		}
		r.stop(errOver)
	})
}

func TestCoalescing(t *testing.T) {
	for _, test := range []struct {
		name string
		// run is called with one chunk in flight, and writes more output.
		run func(r *rig)
		// after is the delay until the next chunk is published, with this many bytes.
		after time.Duration
		bytes int
	}{
		{"one write", func(r *rig) { r.write(schema.FrameStdout, []byte("x")) }, chunkDelay, 1},
		{"from the first write on", func(r *rig) {
			r.write(schema.FrameStdout, []byte("x"))
			time.Sleep(chunkDelay - 1)
			r.write(schema.FrameStdout, []byte("y"))
		}, 1, 2},
		{"32 KiB", func(r *rig) { r.write(schema.FrameStdout, make([]byte, chunkBytes)) }, 0, chunkBytes},
		{"32 KiB together", func(r *rig) {
			r.write(schema.FrameStdout, make([]byte, chunkBytes-1))
			r.write(schema.FrameStderr, make([]byte, 1))
		}, 0, chunkBytes},
		{"less than 32 KiB", func(r *rig) { r.write(schema.FrameStdout, make([]byte, chunkBytes-1)) }, chunkDelay, chunkBytes - 1},
		{"an event", func(r *rig) { r.event(schema.Frame{Kind: schema.FrameResize}) }, chunkDelay, 0},
		{"the acknowledgement", func(r *rig) {
			r.write(schema.FrameStdout, []byte("x"))
			time.Sleep(time.Millisecond)
			r.tape.attempts[0].ack()
		}, 0, 1},
		{"the end", func(r *rig) {
			r.write(schema.FrameStdout, []byte("x"))
			r.finish(endFrame())
		}, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, holdAll).start()
				defer r.stop(errOver)
				r.write(schema.FrameStdout, []byte("echo"))
				synctest.Wait() // no time has passed
				if n, _ := r.tape.published(); n != 1 {
					t.Fatalf("%d chunks published of a first echo", n)
				}
				test.run(r)
				synctest.Wait()
				if test.after > 0 {
					time.Sleep(test.after - 1)
					synctest.Wait()
					if n, _ := r.tape.published(); n != 1 {
						t.Fatalf("%d chunks published too early", n)
					}
					time.Sleep(time.Nanosecond)
					synctest.Wait()
				}
				n, last := r.tape.published()
				size := 0
				for _, f := range last.chunk.Frames {
					if f.Kind.IsOutput() {
						size += len(f.Payload)
					}
				}
				if n != 2 || size != test.bytes {
					t.Fatalf("%d chunks published, the last of %d bytes, expected 2 and %d", n, size, test.bytes)
				}
			})
		})
	}
}

// TestLargeChunks: with more than one chunk in flight, the next ones are larger, up to a bound.
func TestLargeChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, holdAll).start()
		expect := func(published, size int) {
			t.Helper()
			synctest.Wait()
			n, last := r.tape.published()
			if n != published || len(last.copy) < size || len(last.copy) > size+1000 {
				t.Fatalf("%d published, the last of %d bytes; expected %d and %d", n, len(last.copy), published, size)
			}
		}
		block := make([]byte, chunkBytes)
		r.write(schema.FrameStdout, block)
		expect(1, chunkBytes)
		// Continuous output is gathered, even with nothing else in flight.
		r.tape.attempts[0].ack()
		for range largeChunkBytes/chunkBytes - 1 {
			r.write(schema.FrameStdout, block)
			expect(1, chunkBytes)
		}
		r.write(schema.FrameStdout, block)
		expect(2, largeChunkBytes)
		r.tape.attempts[1].ack()
		r.write(schema.FrameStdout, block)
		time.Sleep(chunkDelay - 1)
		expect(2, largeChunkBytes)
		time.Sleep(time.Nanosecond)
		expect(3, chunkBytes)
		r.tape.attempts[2].ack()
		// The output is no longer continuous: it does not wait.
		time.Sleep(flowDelay)
		r.write(schema.FrameStdout, block[:flowBytes-1])
		expect(4, flowBytes-1)
		r.tape.attempts[3].ack()
		synctest.Wait()
		r.write(schema.FrameStdout, []byte("x"))
		expect(5, 1)
		// With two chunks in flight it is gathered as well.
		r.write(schema.FrameStdout, []byte("y"))
		time.Sleep(chunkDelay)
		expect(6, 1)
		for range largeChunkBytes/chunkBytes - 1 {
			r.write(schema.FrameStdout, block)
			expect(6, 1)
		}
		r.write(schema.FrameStdout, block)
		expect(7, largeChunkBytes)
		r.stop(errOver)
		<-r.done
	})
}

// TestChunkSizeLimit: output that accumulates while nothing can be published is split into chunks
// that fit into messages.
func TestChunkSizeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		r := newRig(t, func(a *attempt) { <-open; a.ack() }).start()
		r.expedite() // nothing is held back
		block := make([]byte, chunkBytes)
		for range 100 {
			r.write(schema.FrameStdout, block)
		}
		r.finish(endFrame())
		synctest.Wait()
		if n, _ := r.tape.published(); n != 1 {
			t.Fatalf("%d published", n)
		}
		close(open)
		<-r.recorded
		r.tape.check()
		for _, a := range r.tape.attempts {
			if len(a.copy) > largeChunkBytes+2*chunkBytes+1000 {
				t.Errorf("a chunk of %d bytes", len(a.copy))
			}
		}
		if got := r.tape.recorded(schema.Stdout); len(got) != 100*chunkBytes {
			t.Errorf("recorded %d bytes", len(got))
		}
		<-r.done
		r.stop(errOver)
	})
}

// TestFrames: output within a millisecond becomes one frame, of one stream and of limited size.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ackAll)
		hold := true
		var first *attempt
		r.tape.answer = func(a *attempt) {
			if hold {
				first = a
				return
			}
			a.ack()
		}
		r.start()
		r.write(schema.FrameStdout, []byte("first"))
		synctest.Wait()
		hold = false
		start := time.Now().UnixNano()
		for i, b := range []string{"a", "b", "c"} {
			r.write(schema.FrameStdout, []byte(b))
			if i == 1 {
				time.Sleep(time.Millisecond - 1)
			}
		}
		r.write(schema.FrameStderr, []byte("e"))
		time.Sleep(time.Nanosecond)
		r.write(schema.FrameStderr, []byte("f"))
		r.write(schema.FrameStdout, []byte("d"))
		r.event(schema.Frame{Kind: schema.FrameResize, Payload: []byte("{}")})
		r.write(schema.FrameStdout, []byte("g"))
		first.ack()
		r.finish(endFrame())
		<-r.done
		frames := r.tape.check()
		if got := kinds(frames); got != "ooeoRoE" {
			t.Fatalf("frames %s", got)
		}
		for i, want := range []string{"first", "abc", "ef", "d", "{}", "g"} {
			if string(frames[i].Payload) != want {
				t.Errorf("frame %d is %q, expected %q", i, frames[i].Payload, want)
			}
		}
		if frames[1].Time != start || frames[2].Time != start+int64(time.Millisecond)-1 {
			t.Errorf("times %d and %d after the first write", frames[1].Time-start, frames[2].Time-start)
		}
		r.stop(errOver)
	})
}

func TestRefusedPublishIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(a *attempt) {
			if a.chunk.Ordinal == 1 && a.repeat < 5 {
				a.refuse()
				return
			}
			a.ack()
		}).start()
		start := time.Now()
		for _, s := range []string{"a", "b", "c"} {
			r.write(schema.FrameStdout, []byte(s))
			time.Sleep(2 * chunkDelay)
		}
		synctest.Wait()
		if shown := r.out.text(); shown != "a" {
			t.Errorf("shown %q while b is refused", shown)
		}
		r.finish(endFrame())
		<-r.done
		if r.out.text() != "abc" || r.ctx.Err() != nil {
			t.Errorf("shown %q, %v", r.out.text(), context.Cause(r.ctx))
		}
		if took := time.Since(start); took > recordGrace {
			t.Errorf("it took %s", took)
		}
		repeats := 0
		for _, a := range r.tape.attempts {
			if a.id != fmt.Sprintf("7-%d", a.chunk.Ordinal) {
				t.Errorf("chunk %d has the ID %q", a.chunk.Ordinal, a.id)
			}
			repeats += min(a.repeat, 1)
		}
		if repeats != 5 {
			t.Errorf("%d repeats", repeats)
		}
		r.tape.check()
		r.stop(errOver)
	})
}

// TestRecordGraceCoversAllChunksInFlight has the stream refuse several chunks in flight, one after
// another, each for less than the grace and all together for longer: the session ends, and nothing
// is stored after the grace.
func TestRecordGraceCoversAllChunksInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began time.Time // the first refusal
		open := make(map[uint64]time.Time)
		r := newRig(t, func(a *attempt) {
			n := a.chunk.Ordinal
			switch {
			case n == 0 || n == 5:
				a.ack()
			case a.repeat == 0: // in flight until all are
				time.AfterFunc(time.Second, func() {
					if n == 1 {
						began = time.Now()
					}
					a.refuse()
				})
			// The first repeat: this chunk is accepted at the first repeat 3.4 s later. Those are up to
			// 1.5 s apart, at random: two chunks are within the grace in any case, and three are not.
			case open[n].IsZero():
				open[n] = time.Now().Add(recordGrace * 34 / 100)
				a.refuse()
			case time.Now().Before(open[n]):
				a.refuse()
			default:
				a.ack()
			}
		}).start()
		for range 6 {
			r.write(schema.FrameStdout, []byte("x"))
			time.Sleep(2 * chunkDelay)
		}
		synctest.Wait()
		if n, _ := r.tape.published(); n != 6 {
			t.Fatalf("%d chunks in flight, expected 6", n)
		}
		time.Sleep(time.Second)
		r.write(schema.FrameStdout, []byte("later"))
		<-r.ctx.Done()
		if took := time.Since(began); took > recordGrace {
			t.Errorf("the session was ended %s after the first refusal", took)
		}
		<-r.done
		time.Sleep(time.Minute)
		for _, a := range r.tape.attempts {
			if a.chunk.Ordinal > 5 {
				t.Error("a chunk was published while others in flight were refused")
			}
		}
		if r.out.text() != "xxx" { // chunks 1 and 2 were refused for 6.8 s or longer
			t.Errorf("shown %q", r.out.text())
		}
	})
}

// TestRecordGraceRestarts: the stream refuses one chunk after another for most of the grace, each
// with no other in flight: the session continues.
func TestRecordGraceRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(map[uint64]time.Time)
		r := newRig(t, func(a *attempt) {
			n := a.chunk.Ordinal
			if refused[n].IsZero() {
				refused[n] = time.Now()
			}
			if time.Since(refused[n]) < recordGrace*4/5 {
				a.refuse()
				return
			}
			a.ack()
		}).start()
		for range 4 {
			r.write(schema.FrameStdout, []byte("x"))
			time.Sleep(recordGrace)
		}
		if r.ctx.Err() != nil || r.out.text() != "xxxx" {
			t.Errorf("shown %q, %v", r.out.text(), context.Cause(r.ctx))
		}
		r.stop(errOver)
		<-r.done
	})
}

func TestCaptureWithRefusingStream(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(*attempt)
	}{
		{"with an error", func(a *attempt) {
			if a.chunk.Ordinal == 0 {
				a.ack()
			} else {
				a.refuse()
			}
		}},
		{"with an error, then not at all", func(a *attempt) {
			if a.chunk.Ordinal == 0 {
				a.ack()
			} else if a.repeat == 0 {
				a.refuse()
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.answer).start()
				r.write(schema.FrameStdout, []byte("a"))
				synctest.Wait()
				start := time.Now()
				r.write(schema.FrameStdout, []byte("b"))
				<-r.ctx.Done()
				if took := time.Since(start); took != recordGrace {
					t.Errorf("gave up after %s", took)
				}
				if err := context.Cause(r.ctx); !errors.Is(err, errNotRecorded) || !strings.Contains(err.Error(), "refused by the test") {
					t.Errorf("%v", err)
				}
				<-r.done
				<-r.recorded
				if r.write(schema.FrameStdout, []byte("c")) {
					t.Error("a later write was accepted")
				}
				if err := r.settle(); !errors.Is(err, errNotRecorded) {
					t.Errorf("settle: %v", err)
				}
				if r.out.text() != "a" {
					t.Errorf("shown %q", r.out.text())
				}
			})
		})
	}
}

func TestCaptureIgnoresOutputAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ackAll).start()
		r.write(schema.FrameStdout, []byte("a"))
		r.finish(endFrame())
		r.event(schema.Frame{Kind: schema.FrameResize})
		if r.write(schema.FrameStdout, []byte("b")) {
			t.Error("a write after the end was accepted")
		}
		<-r.done
		r.event(schema.Frame{Kind: schema.FrameResize})
		synctest.Wait()
		if got := kinds(r.tape.check()); got != "oE" || r.out.text() != "a" || r.total() != 1 {
			t.Errorf("frames %s, shown %q, total %d", got, r.out.text(), r.total())
		}
		r.stop(errOver)
	})
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ackAll).start()
		why := errors.New("a test")
		if err := r.read(schema.Stdout, failingReader{why}); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		over := errors.New("over")
		r.stop(over)
		if err := r.read(schema.Stdout, strings.NewReader("late")); !errors.Is(err, over) {
			t.Errorf("%v", err)
		}
		<-r.done
	})
}

// TestNoPublishAfterRefusal: chunks after a repeated one wait, and follow it.
func TestNoPublishAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room atomic.Bool
		r := newRig(t, func(a *attempt) {
			if room.Load() {
				a.ack()
			} else {
				a.refuse()
			}
		}).start()
		r.write(schema.FrameStdout, []byte("one"))
		time.Sleep(time.Second)
		r.write(schema.FrameStdout, []byte("two"))
		time.Sleep(time.Second)
		if n, last := r.tape.published(); n < 3 || last.chunk.Ordinal != 0 || last.repeat != n-1 {
			t.Errorf("%d published, the last is chunk %d", n, last.chunk.Ordinal)
		}
		room.Store(true)
		time.Sleep(recordGrace)
		r.finish(endFrame())
		<-r.done
		if got := kinds(r.tape.check()); got != "ooE" || r.out.text() != "onetwo" {
			t.Errorf("frames %s, shown %q", got, r.out.text())
		}
		r.stop(errOver)
	})
}
