package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestEnds(t *testing.T) {
	day := 24 * time.Hour
	cancelled := func(after time.Duration, cause error) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, after, cause)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(s *stage)
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		want    Exit
		after   time.Duration // exactly
		says    string        // the last output
	}{
		{"exit", func(s *stage) { s.program = func(*program) Exit { return Exit{} } }, nil, Exit{Reason: ReasonExit}, 0, ""},
		{"exit with a status", func(s *stage) {
			s.program = func(*program) Exit { time.Sleep(5 * time.Second); return Exit{Status: 3} }
		}, nil,
			Exit{Status: 3, Reason: ReasonExit}, 5 * time.Second, ""},
		{"a signal of its own", func(s *stage) {
			s.program = func(*program) Exit { return Exit{Status: 139, Signal: "SEGV", CoreDumped: true} }
		}, nil, Exit{Status: 139, Signal: "SEGV", CoreDumped: true, Reason: ReasonExit}, 0, ""},
		{"disconnect", func(s *stage) { s.program = until }, cancelled(time.Second, ErrDisconnected),
			Exit{Status: 137, Reason: ReasonDisconnect}, time.Second, ""},
		{"disconnect while it shows much", func(s *stage) {
			s.program = func(p *program) Exit {
				for {
					select {
					case <-p.killed:
						return Exit{}
					case <-time.After(time.Millisecond):
						p.stdout.Write(make([]byte, 10_000))
					}
				}
			}
		}, cancelled(time.Second, ErrDisconnected), Exit{Status: 137, Reason: ReasonDisconnect}, time.Second, ""},
		{"shutdown", func(s *stage) { s.program = until }, cancelled(time.Second, ErrShutdown),
			Exit{Status: 137, Reason: ReasonShutdown}, time.Second, "this gateway is being stopped, and has ended this session"},
		{"kill", func(s *stage) { s.program = until }, cancelled(time.Second, errors.New("an operator")),
			Exit{Status: 137, Reason: ReasonKilled}, time.Second, "this session was ended by an operator"},
		{"output closed while it writes", func(s *stage) {
			s.program = func(p *program) Exit {
				for {
					if _, err := io.WriteString(p.stdout, "tick\r\n"); err != nil {
						return Exit{Status: 141, Signal: "PIPE"}
					}
					time.Sleep(300 * time.Millisecond)
				}
			}
			time.AfterFunc(time.Second, func() { close(s.closed) })
		}, nil, Exit{Status: 141, Signal: "PIPE", Reason: ReasonOutputClosed}, 1200 * time.Millisecond, ""},
		{"output closed, and it stays on its terminal", func(s *stage) {
			s.program = until
			time.AfterFunc(time.Second, func() { close(s.closed) })
		}, nil, Exit{Status: 137, Signal: "KILL", Reason: ReasonOutputClosed}, time.Second + hangUpGrace, ""},
		{"expiry", func(s *stage) { s.program = until }, nil,
			Exit{Status: 137, Reason: ReasonExpired}, time.Hour, "this session has reached the end of its time and was ended"},
		{"expiry of one that is active", func(s *stage) { s.program, s.app.Duration = chatty, day }, nil,
			Exit{Status: 137, Reason: ReasonExpired}, day, "this session has reached the end of its time and was ended"},
		{"expiry at the limit", func(s *stage) { s.program, s.app.Duration = until, SessionDurationLimit }, nil,
			Exit{Status: 137, Reason: ReasonExpired}, 7 * day, "this session has reached the end of its time and was ended"},
		{"no expiry beyond the limit", func(s *stage) { s.program, s.app.Duration = chatty, 100*day }, nil,
			Exit{Status: 137, Reason: ReasonExpired}, 7 * day, "this session has reached the end of its time and was ended"},
		{"start failure", func(s *stage) { s.startErr = errors.New("mounting /secret/path: no") }, nil,
			Exit{Status: 255, Reason: ReasonStartFailure}, 0, "the session could not be started: the operators find the reason in the log, under operation 7"},
		{"start refused", func(s *stage) { s.startErr = errors.Join(errors.New("starting"), &Refusal{"the command is missing"}) }, nil,
			Exit{Status: 255, Reason: ReasonStartFailure}, 0, "the session could not be started: the command is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				test.prepare(s)
				ctx := t.Context()
				if test.ctx != nil {
					var cancel context.CancelFunc
					ctx, cancel = test.ctx(ctx)
					defer cancel()
				}
				start := time.Now()
				exit, err := s.run(ctx)
				took := time.Since(start)
				if err != nil || exit != test.want {
					t.Errorf("%+v, %v; expected %+v", exit, err, test.want)
				}
				if took != test.after {
					t.Errorf("it ended after %s, expected %s", took, test.after)
				}
				synctest.Wait()
				e := s.ending()
				if e.end.Reason != test.want.Reason || *e.end.ExitStatus != test.want.Status {
					t.Errorf("the end is recorded as %+v", e.end)
				}
				if e.stderr != "" || s.out.text() != e.stdout {
					t.Errorf("shown %.200q, recorded %.200q and %q", s.out.text(), e.stdout, e.stderr)
				}
				if test.says == "" && strings.Count(e.stdout, "ttydrain: ") != 3 || test.says != "" && !strings.HasSuffix(e.stdout, "ttydrain: "+test.says+"\r\n") {
					t.Errorf("shown at last %q", e.stdout[max(0, len(e.stdout)-300):])
				}
				if e.start.Expires.Sub(e.start.Started) != min(s.app.Duration, SessionDurationLimit) {
					t.Errorf("from %s to %s", e.start.Started, e.start.Expires)
				}
				for _, p := range s.programs {
					select {
					case <-p.killed:
					default:
						t.Error("the program was not killed")
					}
				}
			})
		})
	}
}

// TestOperation: the content of the operation, the specification for the runtime, and the banner.
func TestOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.req.Env = []string{"LANG=C", "RAILS_ENV=mine", "APTIBLE_USER_DOCUMENT=forged", "APTIBLE_LAYER=forged"}
		s.app.APIURL = "https://api.example.com"
		s.req.Command = strings.Repeat("é", maxCommand)
		s.req.Notices = []string{"agent forwarding is not offered", "second"}
		started := time.Now().UTC()
		if _, err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		e := s.ending()
		want := schema.Operation{
			ID: "7", Stack: "default", App: "web", AppID: "a-1", Service: "web-cmd", Layer: "app", Host: "host-1", Container: "web-7",
			User: s.req.User, UserDocument: "document of u-1", Command: strings.Repeat("é", maxCommand/2) + "…", Interactive: true,
			Width: 80, Height: 24, Started: started, Expires: started.Add(time.Hour), PHI: true,
		}
		if e.start != want {
			t.Errorf("the operation is\n%+v\nexpected\n%+v", e.start, want)
		}
		if s.created[0].ID != "" || s.created[0].UserDocument != want.UserDocument {
			t.Errorf("recorded as %+v", s.created[0])
		}
		spec := s.programs[0].spec
		if spec.Name != "web-7" || !slices.Equal(spec.Command, s.app.Command) || spec.CommandLine != s.req.Command || spec.Root != "/srv" ||
			spec.Memory != 1<<30 || spec.Terminal != s.req.Terminal {
			t.Errorf("started as %+v", spec)
		}
		env := make(map[string]string) // later ones win
		for _, v := range spec.Env {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		wantEnv := map[string]string{
			"LANG": "C", "RAILS_ENV": "production", "APTIBLE_USER_DOCUMENT": "document of u-1", "APTIBLE_LAYER": "app",
			"APTIBLE_PROCESS_TYPE": "web-cmd", "APTIBLE_CONTAINER_SIZE": "1024",
			"APTIBLE_APP_HREF":               "https://api.example.com/apps/a-1",
			"APTIBLE_EPHEMERAL_SESSION_HREF": "https://api.example.com/ephemeral_sessions/7",
		}
		if !maps.Equal(env, wantEnv) {
			t.Errorf("environment %q", spec.Env)
		}
		banner := "ttydrain: operation 7: session on web for Ada <ada@example.com>\r\n" +
			"ttydrain: what this session shows is recorded; it goes to siem, audit\r\n" +
			"ttydrain: it ends with its connection, at the latest on 1 January 2000 at 01:00 UTC\r\n" +
			"ttydrain: agent forwarding is not offered\r\n" +
			"ttydrain: second\r\n"
		if e.stdout != banner || s.out.text() != banner || e.kinds != "SoE" {
			t.Errorf("the banner is %q, frames %s", e.stdout, e.kinds)
		}
	})
}

// TestBanner: a setting determines which sessions start with the banner. Refusals are shown unless
// the banner has no lines at all.
func TestBanner(t *testing.T) {
	const refused = "agent forwarding is refused"
	for _, test := range []struct {
		setting          string
		terminal, banner bool
		notices          bool
	}{
		{BannerAlways, true, true, true}, {BannerAlways, false, true, true},
		{BannerInteractive, true, true, true}, {BannerInteractive, false, false, true},
		{"", true, true, true}, {"", false, false, true},
		{BannerNone, true, false, false}, {BannerNone, false, false, false},
	} {
		for _, notices := range [][]string{nil, {refused}} {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.app.Banner, s.req.Notices = test.setting, notices
				if !test.terminal {
					s.req.Terminal = nil
				}
				if _, err := s.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				e := s.ending()
				lines := 0
				if test.banner {
					lines = 3
				}
				if test.notices {
					lines += len(notices)
				}
				shown := s.out.text() + s.err.text()
				if strings.Count(shown, "ttydrain: ") != lines || strings.Contains(shown, "operation 7") != test.banner || shown != e.stdout+e.stderr {
					t.Errorf("%q, terminal %t, notices %q: shown %q, recorded %q", test.setting, test.terminal, notices, shown, e.stdout+e.stderr)
				}
				if lines == 0 && e.kinds != "SE" {
					t.Errorf("%q: frames %s", test.setting, e.kinds)
				}
			})
		}
	}
}

func TestSessionWithoutTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.req.Terminal, s.req.Command, s.app.Drains, s.app.Banner = nil, "cat", nil, BannerAlways
		s.stdin = strings.NewReader("input\n")
		s.program = func(p *program) Exit {
			input, err := io.ReadAll(p.stdin)
			if err != nil {
				t.Error(err)
			}
			io.WriteString(p.stdout, "out: "+string(input))
			io.WriteString(p.stderr, "err\n")
			<-p.killed
			return Exit{}
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrShutdown)
		defer cancel()
		if _, err := s.run(ctx); err != nil {
			t.Fatal(err)
		}
		e := s.ending()
		if e.stdout != "out: input\n" || s.out.text() != e.stdout || s.err.text() != e.stderr {
			t.Errorf("standard output is %q, shown %q", e.stdout, s.out.text())
		}
		lines := strings.Split(e.stderr, "\n")
		if len(lines) != 6 || !strings.HasSuffix(lines[1], "no drain takes it yet") || lines[3] != "err" ||
			lines[4] != "ttydrain: this gateway is being stopped, and has ended this session" {
			t.Errorf("standard error is %q", e.stderr)
		}
		if strings.Contains(e.stdout+e.stderr, "\r") {
			t.Error("a carriage return without a terminal")
		}
		if e.start.Interactive || e.start.Width != 0 || e.start.Command != "cat" {
			t.Errorf("the operation is %+v", e.start)
		}
	})
}

func TestLongNames(t *testing.T) {
	for _, test := range []struct{ app, id, want string }{
		{"web", "7", "web-7"},
		{strings.Repeat("a", 63), "1234", strings.Repeat("a", 58) + "-1234"},
	} {
		if got := containerName(&schema.Operation{App: test.app, ID: test.id}); got != test.want || len(got) > 63 {
			t.Errorf("%q, expected %q", got, test.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(s *stage)
		says    string
		created int
		counted string // among the refusals
	}{
		{"an app that is not there", func(s *stage) { s.req.App = "none" }, "this app does not exist", 0, RefusedUnavailable},
		{"a runtime that is not there", func(s *stage) { s.app.Runtime = "none" }, `the runtime "none" of this app is not available here`, 0, RefusedUnavailable},
		{"an operation that can't be recorded", func(s *stage) { s.createErr = errors.New("secret") }, "can't be recorded now", 0, RefusedUnrecorded},
		{"a session that can't be recorded", func(s *stage) { s.saveErr = errors.New("secret") }, "can't be recorded now", 1, RefusedUnrecorded},
		{"no room for the operation", func(s *stage) { s.createErr = ErrFull }, "no room left", 0, RefusedFull},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				test.prepare(s)
				_, err := s.run(t.Context())
				refusal, ok := errors.AsType[*Refusal](err)
				if !ok || !strings.Contains(refusal.Error(), test.says) || strings.Contains(refusal.Message, "secret") {
					t.Errorf("%v", err)
				}
				if s.counted(s.metrics.refused.WithLabelValues(test.counted)) != 1 || s.counted(s.metrics.started) != 0 {
					t.Errorf("it is not counted as %q", test.counted)
				}
				synctest.Wait()
				if n, _ := s.tape.published(); n > 0 || len(s.programs) > 0 || len(s.created) != test.created || s.out.text()+s.err.text() != "" {
					t.Errorf("%d published, %d started, %d created, shown %q", n, len(s.programs), len(s.created), s.out.text())
				}
			})
		})
	}
}

func TestDocumentError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		m := s.manager()
		m.o.Document = func(schema.User) (string, error) { return "", errors.New("no key") }
		_, err := m.Run(t.Context(), s.req, IO{})
		if _, ok := errors.AsType[*Refusal](err); !ok || len(s.created) > 0 {
			t.Errorf("%v, %d created", err, len(s.created))
		}
	})
}

func TestResizesAndSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		more := make(chan struct{})
		s.program = func(p *program) Exit {
			io.WriteString(p.stdout, "before")
			<-more
			io.WriteString(p.stdout, "after")
			<-more
			return Exit{}
		}
		go func() { // ends with the program
			synctest.Wait()
			s.resize <- Size{Width: 100, Height: 30}
			synctest.Wait()
			time.Sleep(resizeInterval)
			s.resize <- Size{} // refused, and so not recorded
			s.signals <- "INT"
			s.signals <- "NONE" // refused
			s.signals <- "TERM"
			synctest.Wait()
			more <- struct{}{}
			synctest.Wait()
			s.resize <- Size{Width: 1, Height: 2}
			synctest.Wait()
			more <- struct{}{}
		}()
		if exit, err := s.run(t.Context()); err != nil || exit.Reason != ReasonExit {
			t.Fatalf("%+v, %v", exit, err)
		}
		e := s.ending()
		p := s.programs[0]
		if !slices.Equal(p.resized, []Size{{Width: 100, Height: 30}, {Width: 1, Height: 2}}) || !slices.Equal(p.signals, []string{"INT", "NONE", "TERM"}) {
			t.Errorf("resized to %v, signals %v", p.resized, p.signals)
		}
		if e.kinds != "SooRoRE" {
			t.Errorf("frames %s", e.kinds)
		}
		var detail schema.Detail
		if err := json.Unmarshal(s.tape.check()[3].Payload, &detail); err != nil || detail.Width != 100 || detail.Height != 30 {
			t.Errorf("%+v, %v", detail, err)
		}
	})
}

// TestResizesAreThrottled: of a burst of changes, one takes effect and is recorded in each
// interval, and always the last one. A change that keeps the number of cells is not recorded, and
// one that changes nothing is ignored.
func TestResizesAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		over := make(chan struct{})
		s.program = func(*program) Exit { <-over; return Exit{} }
		go func() { // ends with the program
			defer close(over)
			synctest.Wait()
			s.resize <- s.req.Terminal.Size
			for i := range 250 { // for two and a half intervals
				s.resize <- Size{Width: 100 + i, Height: 30}
				time.Sleep(resizeInterval / 100)
			}
			time.Sleep(resizeInterval)
			s.resize <- Size{Width: 349, Height: 30}
			s.resize <- Size{Width: 349, Height: 30, PixelWidth: 3490, PixelHeight: 600}
			time.Sleep(2 * resizeInterval)
		}()
		if exit, err := s.run(t.Context()); err != nil || exit.Reason != ReasonExit {
			t.Fatalf("%+v, %v", exit, err)
		}
		var recorded []int
		for _, f := range s.tape.check() {
			if f.Kind == schema.FrameResize {
				var detail schema.Detail
				if err := json.Unmarshal(f.Payload, &detail); err != nil {
					t.Fatal(err)
				}
				recorded = append(recorded, detail.Width)
			}
		}
		if len(recorded) != 4 || recorded[0] != 100 || recorded[3] != 349 {
			t.Errorf("recorded are widths of %v", recorded)
		}
		synctest.Wait() // control was processed to the end
		s.programs[0].mu.Lock()
		resized := s.programs[0].resized
		s.programs[0].mu.Unlock()
		if len(resized) != 5 || resized[4] != (Size{349, 30, 3490, 600}) {
			t.Errorf("resized to %v", resized)
		}
	})
}

// TestKillWithStalledClient: a stalled client blocks the program, but a session ends soon after a
// kill nevertheless, with everything recorded.
func TestKillWithStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.out.take = make(chan struct{})
		written := 0
		s.program = func(p *program) Exit {
			for {
				n, err := p.stdout.Write(make([]byte, 10_000))
				written += n
				if err != nil {
					return Exit{}
				}
			}
		}
		const killed = 30 * time.Minute
		ctx, cancel := context.WithTimeoutCause(t.Context(), killed, errors.New("an operator"))
		defer cancel()
		start := time.Now()
		exit, err := s.run(ctx)
		if err != nil || exit.Reason != ReasonKilled {
			t.Errorf("%+v, %v", exit, err)
		}
		if took := time.Since(start); took > killed+showGrace {
			t.Errorf("the kill took %s", took-killed)
		}
		e := s.ending()
		if !strings.HasSuffix(e.stdout, "ttydrain: this session was ended by an operator\r\n") || written > aheadBytes+3*chunkBytes ||
			strings.Count(e.stdout, "\x00") != written {
			t.Errorf("written %d, recorded %d bytes", written, strings.Count(e.stdout, "\x00"))
		}
		close(s.out.take)
		synctest.Wait()
	})
}

// TestRefusingStreamEndsSession: nothing unrecorded is shown, the program is killed, and the client
// receives a message.
func TestRefusingStreamEndsSession(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		t.Run("terminal "+strconv.FormatBool(terminal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				if !terminal {
					s.req.Terminal = nil
				}
				full := false
				s.tape.answer = func(a *attempt) {
					if full {
						a.refuse()
					} else {
						a.ack()
					}
				}
				s.program = func(p *program) Exit {
					io.WriteString(p.stdout, "recorded")
					synctest.Wait()
					full = true
					io.WriteString(p.stdout, "lost")
					<-p.killed
					return Exit{}
				}
				client := IO{Stdin: s.stdin, Stdout: &free{screen: s.out}, Stderr: &free{screen: s.err}}
				start := time.Now()
				exit, err := s.manager().Run(t.Context(), s.req, client)
				if err != nil || exit != (Exit{Status: 255, Reason: ReasonNotRecorded}) {
					t.Errorf("%+v, %v", exit, err)
				}
				if took := time.Since(start); took != recordGrace {
					t.Errorf("it ended after %s", took)
				}
				told := client.Stdout.(*free)
				if !terminal {
					told = client.Stderr.(*free)
				}
				shown := s.out.text() + s.err.text()
				if !strings.HasSuffix(s.out.text(), "recorded") || strings.Contains(shown, "lost") || told.told != "\r\nttydrain: this session was ended, since what it shows can't be recorded now: try again in a minute\r\n" {
					t.Errorf("shown %q, told %q", shown, told.told)
				}
				select {
				case <-s.programs[0].killed:
				default:
					t.Error("the program was not killed")
				}
				if len(s.saved) != 1 {
					t.Errorf("saved %+v", s.saved)
				}
				synctest.Wait()
			})
		})
	}
}

// free is a client's stream on which the gateway may write unrecorded messages at the end.
type free struct {
	*screen
	told string
}

func (f *free) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b), "\r\nttydrain: this session was ended") {
		f.told += string(b)
		return len(b), nil
	}
	if f.told != "" {
		f.tape.t.Errorf("shown after the session's end: %q", b)
	}
	return f.screen.Write(b)
}

// TestRefusingStreamPreventsStart: without a stream, no session starts.
func TestRefusingStreamPreventsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.tape.answer = (*attempt).refuse
		out := &free{screen: s.out}
		exit, err := s.manager().Run(t.Context(), s.req, IO{Stdin: s.stdin, Stdout: out, Stderr: s.err})
		if err != nil || exit.Reason != ReasonNotRecorded || len(s.programs) > 0 || s.out.text() != "" || out.told == "" {
			t.Errorf("%v, %d started, shown %q, told %q", err, len(s.programs), s.out.text(), out.told)
		}
	})
}

// TestRefusingStreamWithStalledClient: the session ends nevertheless.
func TestRefusingStreamWithStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.out.take = make(chan struct{})
		s.tape.answer = func(a *attempt) {
			if a.chunk.Ordinal < 2 {
				a.ack()
			} else {
				a.refuse()
			}
		}
		s.program = func(p *program) Exit {
			time.Sleep(time.Second)
			io.WriteString(p.stdout, "one")
			time.Sleep(time.Second)
			io.WriteString(p.stdout, "lost")
			<-p.killed
			return Exit{}
		}
		start := time.Now()
		exit, err := s.run(t.Context())
		if err != nil || exit.Reason != ReasonNotRecorded {
			t.Errorf("%+v, %v", exit, err)
		}
		if took := time.Since(start); took > 2*time.Second+recordGrace+showGrace {
			t.Errorf("it took %s", took)
		}
		close(s.out.take)
		synctest.Wait()
		if strings.Contains(s.out.text(), "lost") {
			t.Errorf("shown %q", s.out.text())
		}
	})
}

// TestOutputReadError: a program whose output cannot be read is ended.
func TestOutputReadError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.program = func(p *program) Exit {
			io.WriteString(p.stdout, "text")
			p.stdout.CloseWithError(errors.New("a broken terminal"))
			<-p.killed
			return Exit{}
		}
		exit, err := s.run(t.Context())
		if err != nil || exit.Status != 137 {
			t.Errorf("%+v, %v", exit, err)
		}
		if e := s.ending(); !strings.HasSuffix(e.stdout, "text") {
			t.Errorf("%q", e.stdout)
		}
	})
}
