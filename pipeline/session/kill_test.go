package session

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestKill: a session ends on request, and shows and records who requested it and why. Requests for
// other sessions have no effect.
func TestKill(t *testing.T) {
	for _, test := range []struct {
		name    string
		because string
		says    string
		program func(*program) Exit
	}{
		{"idle", "the incident is over", "this session was ended by grace at host: the incident is over", until},
		{"without a reason", "", "this session was ended by grace at host", until},
		{"one that shows something", "", "this session was ended by grace at host", chatty},
		{"one that shows something all the time", "", "this session was ended by grace at host", func(p *program) Exit {
			for {
				if _, err := p.stdout.Write(make([]byte, 10_000)); err != nil {
					return Exit{}
				}
				time.Sleep(20 * time.Millisecond)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.program = test.program
				m := s.manager()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go m.FollowKills(ctx) // ends with the test
				done := make(chan Exit, 1)
				go func() { // ends with the session
					exit, err := m.Run(t.Context(), s.req, IO{Stdin: s.stdin, Stdout: s.out, Stderr: s.err})
					if err != nil {
						t.Error(err)
					}
					done <- exit
				}()
				time.Sleep(time.Minute / 2)
				s.kills <- schema.Kill{Operation: "8", By: "somebody"}
				synctest.Wait()
				select {
				case exit := <-done:
					t.Fatalf("it ended on the request for another session: %+v", exit)
				default:
				}
				s.kills <- schema.Kill{Operation: "7", By: "grace at host", Because: test.because}
				if exit := <-done; exit.Reason != ReasonKilled || exit.Status != 137 {
					t.Errorf("it ended with %+v", exit)
				}
				synctest.Wait()
				e := s.ending()
				if !strings.HasSuffix(e.stdout, "\r\nttydrain: "+test.says+"\r\n") {
					t.Errorf("shown at last %q", e.stdout[max(0, len(e.stdout)-300):])
				}
				if e.end.EndedBy != "grace at host" || e.end.EndedBecause != test.because || e.state.EndedBy != e.end.EndedBy || e.state.EndedBecause != test.because {
					t.Errorf("the end is recorded as %+v, the session as %+v", e.end, e.state)
				}
				if len(s.forgot) != 1 || s.forgot[0] != "7" || len(m.running) != 0 {
					t.Errorf("requests removed: %q; still running: %d", s.forgot, len(m.running))
				}
				s.kills <- schema.Kill{Operation: "7", By: "late"} // has no effect any more
			})
		})
	}
}

// TestWarnings: when and where a session is warned that it will end soon.
func TestWarnings(t *testing.T) {
	const ten, one = "this session ends in 10 minutes, at ", "this session ends in one minute, at "
	for _, test := range []struct {
		duration time.Duration
		want     []time.Duration // after the start
	}{
		{SessionDurationLimit, []time.Duration{SessionDurationLimit - 10*time.Minute, SessionDurationLimit - time.Minute}},
		{time.Hour, []time.Duration{50 * time.Minute, 59 * time.Minute}},
		{20 * time.Minute, []time.Duration{10 * time.Minute, 19 * time.Minute}},
		{20*time.Minute - time.Second, []time.Duration{19*time.Minute - time.Second}},
		{2 * time.Minute, []time.Duration{time.Minute}},
		{2*time.Minute - time.Second, nil},
		{5 * time.Second, nil},
	} {
		for _, terminal := range []bool{true, false} {
			t.Run(test.duration.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t)
					s.app.Duration, s.program = test.duration, until
					if !terminal {
						s.req.Terminal = nil
						s.program = func(p *program) Exit {
							io.WriteString(p.stdout, "exact")
							return until(p)
						}
					}
					started := time.Now()
					if exit, err := s.run(t.Context()); err != nil || exit.Reason != ReasonExpired {
						t.Errorf("%+v, %v", exit, err)
					}
					synctest.Wait()
					e := s.ending()
					shown := e.stdout
					if !terminal {
						shown = e.stderr
						if e.stdout != "exact" {
							t.Errorf("standard output is %q", e.stdout)
						}
					}
					if n := strings.Count(shown, "this session ends in "); n != len(test.want) {
						t.Errorf("%d warnings in %q", n, shown)
					}
					var at []time.Duration
					for _, f := range s.tape.check() {
						text := string(f.Payload)
						if strings.Contains(text, ten) || strings.Contains(text, one) {
							at = append(at, time.Unix(0, f.Time).Sub(started))
							if terminal != strings.HasPrefix(text, "\r\nttydrain: ") || terminal != strings.HasSuffix(text, "\r\n") {
								t.Errorf("the warning is %q", text)
							}
							if !strings.Contains(text, started.Add(test.duration).UTC().Format("15:04:05 UTC")) {
								t.Errorf("the warning does not say when: %q", text)
							}
						}
					}
					if len(at) != len(test.want) {
						t.Fatalf("warned after %s, expected %s", at, test.want)
					}
					for i := range at {
						if at[i] != test.want[i] {
							t.Errorf("warned after %s, expected %s", at[i], test.want[i])
						}
					}
				})
			})
		}
	}
}
