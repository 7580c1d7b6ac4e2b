package enrich

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// t0 is the start of the sessions of these tests.
var t0 = time.Unix(1700000000, 123456789)

// script creates a session's chunks, one frame per chunk, and adds each at its time.
type script struct {
	t     testing.TB
	tr    *Transcript
	d     schema.Decoder
	chunk schema.Chunk // the next one's ordinal, offsets and events
	at    time.Duration
}

func newScript(t testing.TB) *script {
	t.Helper()
	k := testKey(t)
	tr, err := New(testOperation(t, k), k, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &script{t: t, tr: tr}
}

func (s *script) frame(f schema.Frame) {
	s.t.Helper()
	s.chunk.Frames = []schema.Frame{f}
	if err := s.tr.Add(&s.chunk, t0.Add(s.at)); err != nil {
		s.t.Fatal(err)
	}
	s.chunk = after(s.chunk)
}

// after is the number, offsets and events of the next chunk.
func after(c schema.Chunk) schema.Chunk {
	for _, f := range c.Frames {
		if f.Kind.IsOutput() {
			c.Offset[f.Kind.Stream()] += uint64(len(f.Payload))
		} else {
			c.Events++
		}
	}
	c.Ordinal++
	c.Frames = nil
	return c
}

func (s *script) show(kind schema.FrameKind, text string) {
	s.t.Helper()
	s.frame(schema.Frame{Kind: kind, Time: t0.Add(s.at).UnixNano(), Payload: []byte(text)})
}

func (s *script) event(kind schema.FrameKind, d *schema.Detail) {
	s.t.Helper()
	f, err := schema.DetailFrame(kind, t0.Add(s.at), d)
	if err != nil {
		s.t.Fatal(err)
	}
	s.frame(f)
}

func (s *script) end() {
	s.t.Helper()
	status := 0
	s.event(schema.FrameEnd, &schema.Detail{ExitStatus: &status, Reason: "exit"})
}

func (s *script) take() []schema.Record {
	s.t.Helper()
	records, _ := take(s.t, s.tr, &s.d)
	return records
}

// brief formats records for comparisons: "log" for a whole line, "log…" for a partial one, "2:log"
// for standard error, "[text]" for an event.
func brief(records []schema.Record) string {
	var all []string
	for _, r := range records {
		s := strconv.Quote(string(r.Log))
		if len(r.Log) > 40 {
			s = strconv.Quote(string(r.Log[:4])) + "*" + strconv.Itoa(len(r.Log))
		}
		if r.Stream == schema.Stderr {
			s = "2:" + s
		}
		if r.Partial {
			s += "…"
		}
		if r.Event != schema.EventOutput {
			s = "[" + string(r.Text) + "]"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestLines(t *testing.T) {
	const out, err = schema.FrameStdout, schema.FrameStderr
	x := func(n int) string { return strings.Repeat("x", n) }
	resize := func(s *script) { s.event(schema.FrameResize, &schema.Detail{Width: 80, Height: 24}) }
	for _, test := range []struct {
		name string
		run  func(s *script)
		want string
	}{
		{"a newline ends a line", func(s *script) { s.show(out, "a\nb\n\nc") },
			`"a\n" "b\n" "\n"`},
		{"a line in three chunks", func(s *script) { s.show(out, "a"); s.show(out, "b"); s.show(out, "c\nd") },
			`"abc\n"`},
		{"the end ends a line", func(s *script) { s.show(out, "a\nb"); s.end() },
			`"a\n" "b" [session ended: exit, status 0]`},
		{"the end ends a sequence", func(s *script) { s.show(out, "a\x1b[3"); s.end() },
			`"a\x1b[3" [session ended: exit, status 0]`},
		{"nothing shown", func(s *script) { s.end() }, `[session ended: exit, status 0]`},

		{"one byte less than 16 KiB", func(s *script) { s.show(out, x(MaxLine-1)) }, ``},
		{"16 KiB", func(s *script) { s.show(out, x(MaxLine)) }, `"xxxx"*16384…`},
		{"16 KiB with its newline", func(s *script) { s.show(out, x(MaxLine-1)+"\n") }, `"xxxx"*16384`},
		{"16 KiB and a newline", func(s *script) { s.show(out, x(MaxLine)+"\n") }, `"xxxx"*16384… "\n"`},
		{"40,000 bytes in one chunk", func(s *script) { s.show(out, x(40_000)+"\n") }, `"xxxx"*16384… "xxxx"*16384… "xxxx"*7233`},
		{"a rune at 16 KiB", func(s *script) { s.show(out, x(MaxLine-1)+"é\n") }, `"xxxx"*16383… "é\n"`},
		{"a sequence at 16 KiB", func(s *script) { s.show(out, x(MaxLine-3)+"\x1b[31mred\n") }, `"xxxx"*16381… "\x1b[31mred\n"`},
		{"a sequence of more than 16 KiB", func(s *script) { s.show(out, "\x1b]0;"+x(MaxLine)+"\x07after\n") },
			`"\x1b]0;"*16384… "xxxx\aafter\n"`},
		{"text before a sequence of more than 16 KiB", func(s *script) { s.show(out, "ab\x1b]0;"+x(MaxLine)+"\x07after\n") },
			`"ab"… "\x1b]0;"*16384… "xxxx\aafter\n"`},
		{"a rune that ends a sequence at 16 KiB", func(s *script) { s.show(out, "\x1b["+strings.Repeat("1", MaxLine-3)+"é\n") },
			`"\x1b[11"*16383… "é\n"`},

		{"ten seconds by the chunks", func(s *script) {
			s.show(out, "a")
			s.at = MaxAge - 1
			s.show(out, "b")
			s.at = MaxAge
			s.show(out, "c")
		}, `"ab"…`},
		{"ten seconds by the clock", func(s *script) {
			s.show(out, "a")
			s.at = MaxAge / 2
			s.show(out, "b")
			s.tr.Expire(t0.Add(MaxAge))
		}, `"ab"…`},
		{"less than ten seconds by the clock", func(s *script) { s.show(out, "a"); s.tr.Expire(t0.Add(MaxAge - 1)) }, ``},
		{"the rest has ten seconds again", func(s *script) {
			s.show(out, "a\xe6")
			s.tr.Expire(t0.Add(MaxAge))
			s.tr.Expire(t0.Add(2*MaxAge - 1))
			s.at = 2*MaxAge - 1
			s.show(out, "\x97\xa5\n")
		}, `"a"… "日\n"`},
		{"an old sequence is not cut", func(s *script) {
			s.show(out, "\x1b]0;")
			s.tr.Expire(t0.Add(MaxAge))
			s.at = 5 * MaxAge
			s.show(out, "title\x07$ ")
		}, ``},
		{"an old line is cut before a sequence", func(s *script) { s.show(out, "$ \x1b[3"); s.tr.Expire(t0.Add(MaxAge)) }, `"$ "…`},
		{"an old line has its newline at once", func(s *script) {
			s.show(out, "a")
			s.at = MaxAge
			s.show(out, "\n")
		}, `"a"… "\n"`},
		{"a clock that goes back", func(s *script) {
			s.at = time.Hour
			s.show(out, "a")
			s.at = 0
			s.show(out, "b")
			s.tr.Expire(t0)
		}, ``},

		{"a resize cuts a line", func(s *script) { s.show(out, "$ l"); resize(s); s.show(out, "s\n") },
			`"$ l"… [terminal is now 80 by 24] "s\n"`},
		{"a resize cuts no sequence", func(s *script) { s.show(out, "a\x1b[3"); resize(s); s.show(out, "1mb\n") },
			`"a"… [terminal is now 80 by 24] "\x1b[31mb\n"`},
		{"a resize without a line", func(s *script) { s.show(out, "a\n"); resize(s); resize(s) },
			`"a\n" [terminal is now 80 by 24] [terminal is now 80 by 24]`},
		{"a gap ends a line", func(s *script) {
			missing := uint64(0)
			s.show(out, "a\x1b[")
			s.event(schema.FrameGap, &schema.Detail{Bytes: &missing, Reason: "a test"})
			s.show(out, "b\n")
		}, `"a\x1b[" [0 bytes are missing here: a test] "b\n"`},

		{"two streams", func(s *script) {
			s.show(out, "o")
			s.show(err, "e")
			s.show(out, "ut\nmore")
			s.show(err, "rr\n")
			s.end()
		}, `"out\n" 2:"err\n" "more" [session ended: exit, status 0]`},
		{"two streams, a sequence in each", func(s *script) {
			s.show(out, "\x1b[3")
			s.show(err, "\x1b]0;")
			s.show(out, "1mred\n")
			s.show(err, "title\x07text\n")
		}, `"\x1b[31mred\n" 2:"\x1b]0;title\atext\n"`},
		{"nothing follows the end", func(s *script) {
			s.end()
			s.show(out, "late\n")
			resize(s)
			s.end()
		}, `[session ended: exit, status 0]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			test.run(s)
			got := s.take()
			checkRecords(t, got)
			if b := brief(got); b != test.want {
				t.Errorf("records are\n%s\nexpected\n%s", b, test.want)
			}
		})
	}
}

// TestTextAcrossCuts: if a sequence is cut nevertheless, its rest is not in the text of the next
// record.
func TestTextAcrossCuts(t *testing.T) {
	s := newScript(t)
	s.show(schema.FrameStdout, "\x1b]0;"+strings.Repeat("x", MaxLine)+"\x07after\nnext\n")
	got := s.take()
	if len(got) != 3 || string(got[0].Text) != "" || string(got[1].Text) != "after" || string(got[2].Text) != "next" {
		t.Errorf("%s: texts %.20q %.20q %.20q", brief(got), got[0].Text, got[1].Text, got[2].Text)
	}
	// A newline ends an unterminated string.
	s = newScript(t)
	s.show(schema.FrameStdout, "\x1b]0;hidden\nshown\n")
	if s.tr.Ready() {
		t.Error("a line was recorded before it was known whether its string ends")
	}
	s.tr.Expire(t0.Add(MaxAge))
	if got := s.take(); len(got) != 2 || string(got[0].Text) != "" || string(got[1].Text) != "shown" {
		t.Errorf("%s", brief(got))
	}
}

// TestCutsKeepRunesAndSequences: no partial record ends within a rune or sequence, unless that
// sequence alone exceeds the maximum size of a record, and none is shorter than necessary.
func TestCutsKeepRunesAndSequences(t *testing.T) {
	partial := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		output := hostile(rng, 200_000)
		s := newScript(t)
		aged := seed%2 == 1 // also cut because of their age
		for rest := output; len(rest) > 0; {
			n := min(1+rng.IntN(5000), len(rest))
			s.show(schema.FrameStdout, string(rest[:n]))
			rest = rest[n:]
			if aged {
				s.at += time.Duration(rng.Int64N(int64(2 * MaxAge)))
			}
			if aged && rng.IntN(4) == 0 {
				s.tr.Expire(t0.Add(s.at))
			}
		}
		s.end()
		records := s.take()
		checkRecords(t, records)
		checkCuts(t, records)
		for i, r := range records {
			if !r.Partial {
				continue
			}
			partial++
			if next := records[i+1].Log; !aged {
				if n, _ := token(next); next[0] != esc && len(r.Log)+n <= MaxLine {
					t.Fatalf("seed %d: a partial record of %d bytes, after which %q would have fitted", seed, len(r.Log), next[:n])
				}
			}
		}
	}
	if partial < 500 {
		t.Fatalf("only %d partial records: the test is not effective", partial)
	}
}

// checkCuts checks the ends of the partial records of each stream.
func checkCuts(t testing.TB, records []schema.Record) {
	t.Helper()
	for stream := range schema.Stream(2) {
		var line []byte // the recorded part
		var ends []int  // of its partial records
		check := func() {
			boundary, ends := 0, ends
			for boundary < len(line) && len(ends) > 0 {
				n, _ := token(line[boundary:])
				boundary += n
				for len(ends) > 0 && ends[0] <= boundary {
					if ends[0] < boundary && n < MaxLine {
						t.Fatalf("a cut at %d of a line divides %.80q", ends[0], line[boundary-n:boundary])
					}
					ends = ends[1:]
				}
			}
		}
		for _, r := range records {
			if r.Event != schema.EventOutput || r.Stream != stream {
				continue
			}
			line = append(line, r.Log...)
			if r.Partial {
				ends = append(ends, len(line))
				continue
			}
			check()
			line, ends = line[:0], ends[:0]
		}
		check()
	}
}

// TestTiming: each byte has its arrival time, with a precision of one microsecond.
func TestTiming(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s := newScript(t)
	var times [2][]int64 // of each byte
	for range 3000 {
		s.at += time.Duration(rng.Int64N(int64(time.Millisecond) * 7))
		kind := schema.FrameKind(rng.IntN(2))
		text := strings.Repeat("x", rng.IntN(20)) + strings.Repeat("é\n", rng.IntN(3))
		if text == "" {
			continue
		}
		for range len(text) {
			times[kind.Stream()] = append(times[kind.Stream()], t0.Add(s.at).UnixNano())
		}
		s.show(kind, text)
	}
	s.end()
	records := s.take()
	checkRecords(t, records)
	var at [2]int
	for _, r := range records {
		if r.Event != schema.EventOutput {
			if len(r.Timing) > 0 {
				t.Fatalf("%s has a timing: %q", r.Event, r.Timing)
			}
			continue
		}
		checkTiming(t, &r, times[r.Stream][at[r.Stream]:at[r.Stream]+len(r.Log)])
		at[r.Stream] += len(r.Log)
	}
}

// checkTiming checks the timing of a record against the times of its bytes.
func checkTiming(t testing.TB, r *schema.Record, times []int64) {
	t.Helper()
	if r.Time != times[0] {
		t.Fatalf("record %d is of %d, its first byte of %d", r.Sequence, r.Time, times[0])
	}
	at, latest := r.Time, r.Time
	n := 0
	for pair := range bytes.SplitSeq(r.Timing, []byte(" ")) {
		delay, count, ok := strings.Cut(string(pair), ":")
		microseconds, err1 := strconv.ParseInt(delay, 10, 64)
		size, err2 := strconv.Atoi(count)
		if !ok || err1 != nil || err2 != nil || microseconds < 0 || size <= 0 || n+size > len(r.Log) {
			t.Fatalf("record %d: %q in the timing %q of %d bytes", r.Sequence, pair, r.Timing, len(r.Log))
		}
		at += microseconds * 1000
		for _, want := range times[n : n+size] {
			latest = max(latest, want) // a clock that is set back is a delay of 0
			if off := latest - at; off < 0 || off >= 1000 {
				t.Fatalf("record %d: byte %d came at %d, its timing says %d", r.Sequence, n, want, at)
			}
		}
		n += size
	}
	if n != len(r.Log) {
		t.Fatalf("record %d: the timing has %d bytes of %d", r.Sequence, n, len(r.Log))
	}
}
