package router

import (
	"context"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuotaProcessors: as many writes have a processor at a time as there are tokens, and writes
// that take long do not count.
func TestQuotaProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const processors = 2
		q := newQuota(&drain.Drain{Writers: 8})
		q.processors = newTokens(processors)
		began := time.Now()
		acquire := func() (release func(), waited time.Duration) {
			return q.acquireProcessor(t.Context()), time.Since(began)
		}
		expect := func(what string, waited, want time.Duration) {
			t.Helper()
			if waited != want {
				t.Errorf("%s: has a processor after %v, want %v", what, waited, want)
			}
		}
		var releases []func()
		for range processors {
			release, waited := acquire()
			expect("the first", waited, 0)
			releases = append(releases, release)
		}
		time.AfterFunc(time.Millisecond, releases[0])
		release, waited := acquire()
		expect("after a short write", waited, time.Millisecond)
		_, waited = acquire()
		expect("after a long write", waited, processorTime)
		releases[1]() // the long one ends
		releases[1]()
		release()
		release()
		release, waited = acquire()
		expect("after one of those has ended", waited, processorTime)
		time.Sleep(2 * processorTime) // the bubble's time, in which all become long
		release()
		if n := len(q.processors); n != processors {
			t.Errorf("%d processors in the end, want %d", n, processors)
		}
		for range processors {
			acquire()
		}
		ctx, cancel := context.WithTimeout(t.Context(), processorTime/2)
		defer cancel()
		began = time.Now()
		q.acquireProcessor(ctx)()
		expect("cancelled", time.Since(began), processorTime/2)
		if n := len(q.processors); n != 0 {
			t.Errorf("%d processors are released by a write that had none", n)
		}
		time.Sleep(processorTime) // of the bubble's time
		if n := len(q.processors); n != processors {
			t.Errorf("%d processors after all writes were long, want %d", n, processors)
		}
	})
}
