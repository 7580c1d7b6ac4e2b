package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

// TestTakeProcessor: of a drain that is far behind, as many writes work at a time as there are
// processors, and those that take long do not count. Another drain's are not held up.
func TestTakeProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const processors = 2
		w := &worker{share: newShare(&Drain{Writers: 8})}
		w.share.processors = newSlots(processors)
		began := time.Now()
		take := func() (give func(), waited time.Duration) {
			d := delivery{worker: w}
			return d.takeProcessor(t.Context()), time.Since(began)
		}
		expect := func(what string, waited, want time.Duration) {
			t.Helper()
			if waited != want {
				t.Errorf("%s: has a processor after %v, want %v", what, waited, want)
			}
		}
		w.state.read(bus.Message{Sequence: 1, Pending: farBehind - 1}, 1)
		for range 3 * processors {
			give, waited := take()
			expect("not far behind", waited, 0)
			give()
		}
		w.state.read(bus.Message{Sequence: 2, Pending: farBehind}, 1)
		var gives []func()
		for range processors {
			give, waited := take()
			expect("the first", waited, 0)
			gives = append(gives, give)
		}
		time.AfterFunc(time.Millisecond, gives[0])
		give, waited := take()
		expect("after one that was short", waited, time.Millisecond)
		_, waited = take()
		expect("after one that is long", waited, busyFor)
		gives[1]() // the long one ends
		gives[1]()
		give()
		give()
		give, waited = take()
		expect("one of those has ended", waited, busyFor)
		time.Sleep(2 * busyFor) // the bubble's time, in which all become long
		give()
		if n := len(w.share.processors); n != processors {
			t.Errorf("%d processors in the end, want %d", n, processors)
		}
		for range processors {
			take()
		}
		ctx, cancel := context.WithTimeout(t.Context(), busyFor/2)
		defer cancel()
		began = time.Now()
		d := delivery{worker: w}
		d.takeProcessor(ctx)()
		expect("cancelled", time.Since(began), busyFor/2)
		if n := len(w.share.processors); n != 0 {
			t.Errorf("%d processors are given back by who had none", n)
		}
		time.Sleep(busyFor) // of the bubble's time
		if n := len(w.share.processors); n != processors {
			t.Errorf("%d processors after those who had them were long, want %d", n, processors)
		}
	})
}
