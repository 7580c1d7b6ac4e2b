package syslog

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const grace = 5 * time.Second
	h := history{grace: grace}
	check := func(want string) {
		t.Helper()
		if got := bytes.Join(h.pieces(), nil); string(got) != want {
			t.Fatalf("the history has %d bytes: %.40q, want %.40q", len(got), got, want)
		}
	}
	h.keep(now)
	check("")
	h.add([]byte("one"), now)
	h.add([]byte("two"), now.Add(3*time.Second))
	check("onetwo")
	h.keep(now.Add(grace))
	check("onetwo")
	h.keep(now.Add(grace + 1))
	check("two")
	h.add([]byte("three"), now.Add(4*time.Second))
	check("twothree")
	h.resent(now.Add(20 * time.Second))
	h.keep(now.Add(20*time.Second + grace))
	check("twothree")
	h.forget()
	check("")
	if !h.empty() {
		t.Error("it is not empty")
	}

	// The last batch is kept however large it is, those before it up to the limit.
	for i := range 3 {
		if spare := h.add(bytes.Repeat([]byte("h"), maxSuspect/2), now); (spare == nil) == (i == 2) {
			t.Errorf("a buffer of %d bytes is given back with batch %d", len(spare), i)
		}
	}
	check(strings.Repeat("h", maxSuspect))
	large := bytes.Repeat([]byte("l"), 3*maxSuspect)
	h.add(large, now)
	check(string(large))
	if spare := h.add([]byte("four"), now); spare != nil {
		t.Errorf("%d bytes of memory are kept for the next batch", cap(spare))
	}
	check("four")
}
