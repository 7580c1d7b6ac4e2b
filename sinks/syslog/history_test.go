package syslog

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var h history
	check := func(want string) {
		t.Helper()
		total := 0
		for _, b := range h.batches {
			total += b.size
		}
		if string(h.data) != want || total != len(want) {
			t.Fatalf("the history has %d bytes, of batches of %d: %.40q, want %.40q", len(h.data), total, h.data, want)
		}
	}
	h.keep(now)
	check("")
	h.add([]byte("one"), now)
	h.add([]byte("two"), now.Add(3*time.Second))
	check("onetwo")
	h.keep(now.Add(suspectFor))
	check("onetwo")
	h.keep(now.Add(suspectFor + 1))
	check("two")
	h.add([]byte("three"), now.Add(4*time.Second))
	check("twothree")
	h.forget()
	check("")

	// The last batch is kept however large it is, those before it up to the limit.
	half := bytes.Repeat([]byte("h"), maxSuspect/2)
	for range 3 {
		h.add(half, now)
	}
	check(strings.Repeat("h", maxSuspect))
	large := bytes.Repeat([]byte("l"), 3*maxSuspect)
	h.add(large, now)
	check(string(large))
	h.add([]byte("four"), now)
	check("four")
	if cap(h.data) > maxKept {
		t.Errorf("%d bytes of memory are kept for 4", cap(h.data))
	}
}
