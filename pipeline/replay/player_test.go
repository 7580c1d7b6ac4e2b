package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// played is a session of an hour ago: a start, then lines "0", "1", … , each a second after the one
// before, and an end a second later.
func played(lines int) *Session {
	at := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	s := &Session{Operation: &schema.Operation{ID: "42", App: "web", Interactive: true, Width: 80, Height: 24}, Started: at}
	add := func(r schema.Record) {
		r.Sequence, r.Time = uint64(len(s.Records)+1), at.UnixNano()
		s.Records = append(s.Records, &Record{Record: r, Operation: s.Operation})
		at = at.Add(time.Second)
	}
	terminal := true
	add(schema.Record{Event: schema.EventStart, Detail: &schema.Detail{Interactive: &terminal, Width: 80, Height: 24}})
	for i := range lines {
		line := fmt.Sprintf("%d\r\n", i)
		add(schema.Record{Log: []byte(line), Text: []byte(line[:1]), Timing: fmt.Appendf(nil, "0:%d", len(line))})
	}
	add(schema.Record{Event: schema.EventEnd, Text: []byte("session ended: exit, status 0"), Detail: &schema.Detail{Reason: "exit"}})
	return s
}

// screening is a player in a synctest bubble, with its output.
type screening struct {
	t      *testing.T
	player *Player
	keys   chan Key
	done   chan struct{} // closed after ended and err are set
	ended  bool
	err    error

	mu   sync.Mutex // guards what follows
	out  bytes.Buffer
	told Status
}

func (s *screening) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *screening) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

func screen(t *testing.T, ctx context.Context, p *Player) *screening {
	s := &screening{t: t, player: p, keys: make(chan Key), done: make(chan struct{})}
	p.Out, p.Keys, p.Status = s, s.keys, func(status Status) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = status
	}
	go func() { // ends with the show
		defer close(s.done)
		s.ended, s.err = p.Run(ctx)
	}()
	return s
}

// shows checks which lines were written since the last call, after this much time.
func (s *screening) shows(after time.Duration, want string) {
	s.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := strings.ReplaceAll(strings.ReplaceAll(s.out.String(), resetModes, "R"), "\r\n", "")
	s.out.Reset()
	if got = strings.ReplaceAll(got, clearScreen, "C"); got != want {
		s.t.Fatalf("%q, want %q", got, want)
	}
}

func (s *screening) press(k Key) {
	s.keys <- k
	synctest.Wait()
}

// TestPlayer plays sessions whose n-th second shows the line n-1.
func TestPlayer(t *testing.T) {
	const ms = time.Millisecond
	show := func(name string, p func() *Player, script func(t *testing.T, s *screening)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s := screen(t, ctx, p())
				script(t, s)
				cancel()
				<-s.done
			})
		})
	}
	nine := func() *Player { return &Player{Timeline: NewTimeline(played(9), 0)} }
	show("rhythm", nine, func(t *testing.T, s *screening) {
		s.shows(500*ms, "")
		s.shows(1000*ms, "0")
		s.shows(8000*ms, "12345678")
		s.shows(501*ms, "R")
		if <-s.done; !s.ended || s.err != nil {
			t.Error(s.ended, s.err)
		}
	})
	show("speed", func() *Player { p := nine(); p.Speed = 4; return p }, func(t *testing.T, s *screening) {
		s.shows(260*ms, "0")
		s.press(KeySlower)
		s.shows(1000*ms, "12")
		s.press(KeySlower)
		s.press(KeySlower)
		s.shows(2000*ms, "3")
		if s.status().Speed != 0.5 {
			t.Error(s.status())
		}
		for range 30 {
			s.press(KeyFaster)
		}
		if s.status().Speed != MaxSpeed {
			t.Error(s.status())
		}
	})
	show("pause and step", nine, func(t *testing.T, s *screening) {
		s.shows(1500*ms, "0")
		s.press(KeyPause)
		s.shows(time.Hour, "")
		if !s.status().Paused || s.status().At != 1500*ms || s.status().Duration != 10*time.Second || s.status().Width != 80 {
			t.Errorf("%+v", s.status())
		}
		s.press(KeyPause)
		s.shows(600*ms, "1")
		s.press(KeyStep)
		s.shows(time.Hour, "2")
		s.press(KeyStep)
		s.shows(0, "3")
		s.press(KeyPause)
		s.shows(1001*ms, "4")
	})
	show("jumps", nine, func(t *testing.T, s *screening) {
		s.shows(1500*ms, "0")
		s.press(KeyForward)
		s.shows(0, "12345")
		s.press(KeyBack)
		s.shows(0, "RC0")
		s.press(KeyTenth + 9)
		s.shows(0, "12345678")
		s.press(KeyTenth)
		s.shows(500*ms, "RC")
		s.press(KeyBack) // before the start is the start
		s.shows(1001*ms, "RC0")
		s.press(KeyPause)
		s.press(KeyEnd)
		s.shows(time.Hour, "12345678") // paused at the end it stays, so that one can go back
		s.press(KeyBack)
		s.shows(0, "RC01234")
		s.press(KeyPause)
		s.press(KeyEnd)
		s.shows(0, "5678R")
		if <-s.done; !s.ended {
			t.Error("no end")
		}
	})
	show("start", func() *Player { p := nine(); p.Start = 3500 * ms; return p }, func(t *testing.T, s *screening) {
		s.shows(0, "012")
		s.shows(600*ms, "3")
		s.press(KeyQuit)
		if <-s.done; s.ended || s.err != nil {
			t.Error(s.ended, s.err)
		}
		s.shows(0, "R")
	})
	show("idle limit", func() *Player { return &Player{Timeline: NewTimeline(played(9), 100*ms)} }, func(t *testing.T, s *screening) {
		s.shows(301*ms, "012")
	})
	show("cancelled", nine, func(t *testing.T, s *screening) { s.shows(0, "") })
	var more chan *Record
	live := played(9)
	show("live", func() *Player {
		ahead := *live
		ahead.Records = live.Records[:3]
		tl := NewTimeline(&ahead, 0)
		more = make(chan *Record)
		return &Player{Timeline: tl, Start: tl.Duration(), More: more}
	}, func(t *testing.T, s *screening) {
		s.shows(time.Hour, "01")
		if !s.status().Live {
			t.Errorf("%+v", s.status())
		}
		for _, r := range live.Records[:5] { // the first three are repeats
			more <- r
		}
		s.shows(0, "23")
		s.press(KeyPause)
		more <- live.Records[5]
		s.shows(time.Hour, "")
		s.press(KeyPause)
		s.shows(1001*ms, "4")
		more <- live.Records[8] // two are missing
		s.shows(0, "\x1b[0;7m ttydrain: records 7 to 8 are missing here \x1b[0m7")
		more <- live.Records[9]
		more <- live.Records[10]
		close(more)
		s.shows(0, "8R")
		if <-s.done; !s.ended {
			t.Error("no end")
		}
	})
}

// TestPlayerErrors checks that Run ends with the cause of a cancelled context, and with a write
// error.
func TestPlayerErrors(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	p := &Player{Timeline: NewTimeline(played(1), 0), Out: new(bytes.Buffer)}
	if ended, err := p.Run(ctx); ended || !errors.Is(err, cause) {
		t.Error(ended, err)
	}
	p = &Player{Timeline: NewTimeline(played(1), 0), Out: brokenWriter{}, Start: time.Minute}
	if _, err := p.Run(t.Context()); !errors.Is(err, errBrokenWriter) {
		t.Error(err)
	}
}

var errBrokenWriter = errors.New("gone")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBrokenWriter }

// TestTimeline checks that missing or decreasing times and duplicates are handled.
func TestTimeline(t *testing.T) {
	s := played(4)
	s.Records[2].Time = 0
	s.Records[3].Time -= int64(time.Hour)
	s.Records = append(s.Records[:2], append([]*Record{s.Records[1]}, s.Records[2:]...)...)
	tl := NewTimeline(s, 0)
	tl.Add(s.Records[1])
	var got []string
	for _, m := range tl.Moments() {
		got = append(got, fmt.Sprintf("%v %s %s", m.At, m.Event, strings.TrimSpace(string(m.Bytes)+m.Notice)))
	}
	want := "0s start \n1s output 0\n1s output 1\n1s output 2\n4s output 3\n5s end session ended: exit, status 0"
	if all := strings.Join(got, "\n"); all != want || !tl.Ended() {
		t.Errorf("%s", all)
	}
	plain := played(1)
	plain.Operation.Interactive = false
	plain.Records[1].Log, plain.Records[1].Timing = []byte("a\nb\r\n"), []byte("0:5")
	tl = NewTimeline(plain, 0)
	if got := tl.Show(&tl.Moments()[1]); string(got) != "a\r\nb\r\r\n" {
		t.Errorf("%q", got)
	}
}

// TestKeys decodes terminal input byte by byte.
func TestKeys(t *testing.T) {
	for in, want := range map[string][]Key{
		" .+=-_": {KeyPause, KeyStep, KeyFaster, KeyFaster, KeySlower, KeySlower},
		"07":     {KeyTenth, KeyTenth + 7}, "GQq": {KeyEnd, KeyQuit, KeyQuit},
		"\x1b[D\x1b[C\x1bOD\x1bOC":              {KeyBack, KeyForward, KeyBack, KeyForward},
		"\x1b[H\x1b[F\x1bOH\x1bOF":              {KeyTenth, KeyEnd, KeyTenth, KeyEnd},
		"\x1b[1~\x1b[4~\x1b[7~\x1b[8~":          {KeyTenth, KeyEnd, KeyTenth, KeyEnd},
		"\x1b[3~\x1b[15~\x1b[1;5C\x1b[A":        nil,
		"\x1b[?1;2c\x1b[24;80R\x1b[0n":          nil, // answers
		"\x1b]11;rgb:0000/0000/0000\x1b\\ ":     {KeyPause},
		"\x1bP1$r0 q\x1b\\\x1b]52;c;cXE=\x07.x": {KeyStep},
		"\x1bq":                                 {KeyQuit}, // ESC alone, and then q
		"\x1b[1\x03":                            {KeyQuit},
		"\x1b]0;\x03":                           {KeyQuit},
		"xyz\xc3\xa9\n":                         nil,
	} {
		keys := make(chan Key, 64)
		ReadKeys(strings.NewReader(in), keys, nil)
		close(keys)
		var got []Key
		for k := range keys {
			got = append(got, k)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
