package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// TestTendRecordsEnd: the end of a session that the stream refused is recorded when the stream
// accepts it, directly after the recorded output even if a chunk arrives late, or when the gateway
// stops. The user is shown the reason, including what is full.
func TestTendRecordsEnd(t *testing.T) {
	const notNow = "\r\nttydrain: this session was ended, since what it shows can't be recorded now: try again in a minute\r\n"
	for _, test := range []struct {
		refusal error
		told    string
		atStop  bool
	}{
		{errors.New("secret"), notNow, false},
		{errors.New("secret"), notNow, true},
		{fmt.Errorf("secret: %w", ErrFull), "\r\nttydrain: this session was ended: there is no room left to record what it shows; its operators have to make room, then try again\r\n", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			var full atomic.Bool
			var late atomic.Pointer[attempt]
			s.tape.answer = func(a *attempt) {
				switch {
				case !full.Load():
					a.ack()
				case a.repeat == 0 && !strings.HasPrefix(a.id, "end"):
					late.Store(a) // the response does not arrive in time
					a.result <- test.refusal
				default:
					a.result <- test.refusal
				}
			}
			s.program = func(p *program) Exit {
				io.WriteString(p.stdout, "recorded")
				synctest.Wait()
				full.Store(true)
				io.WriteString(p.stdout, "late")
				<-p.killed
				return Exit{}
			}
			client := IO{Stdin: s.stdin, Stdout: &free{screen: s.out}, Stderr: s.err}
			m := s.manager()
			ctx, cancel := context.WithCancel(t.Context())
			go m.Tend(ctx)
			exit, err := m.Run(t.Context(), s.req, client)
			if err != nil || exit != (Exit{Status: 255, Reason: ReasonNotRecorded}) {
				t.Errorf("%+v, %v", exit, err)
			}
			if told := client.Stdout.(*free).told; told != test.told {
				t.Errorf("told %q", told)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := len(s.saved); n != 1 {
				t.Errorf("saved %d times", n)
			}
			a := late.Load()
			a.result = make(chan error, 1)
			a.ack() // the stream had stored it nevertheless
			if test.atStop {
				cancel() // time for Tend to run
				synctest.Wait()
				grace, over := context.WithTimeout(t.Context(), time.Second)
				if err := m.Drain(grace); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("drained although the stream refuses: %v", err)
				}
				over()
			}
			full.Store(false)
			if test.atStop {
				if err := m.Drain(t.Context()); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			frames := s.tape.check()
			end := frames[len(frames)-1]
			var d schema.Detail
			if err := json.Unmarshal(end.Payload, &d); end.Kind != schema.FrameEnd || err != nil || d.Reason != ReasonNotRecorded {
				t.Errorf("frames %s, the end %+v, %v", kinds(frames), d, err)
			}
			recorded := uint64(len(s.tape.recorded(schema.Stdout)))
			if n := len(s.saved); n != 2 || s.saved[1].Ended.IsZero() || s.saved[1].Reason != ReasonNotRecorded || s.saved[1].Bytes != recorded {
				t.Errorf("saved %+v, with %d bytes recorded", s.saved, recorded)
			}
			if len(m.unfinished) != 0 {
				t.Errorf("%d ends are still waiting", len(m.unfinished))
			}
			cancel()
			synctest.Wait()
		})
	}
}

// TestUnfinishedLimit: only a limited number of ends waits in memory, and the next start finds the
// others.
func TestUnfinishedLimit(t *testing.T) {
	m := NewManager(Options{})
	for i := range maxUnfinished + 10 {
		m.deferEnd(&schema.Session{Operation: &schema.Operation{ID: strconv.Itoa(i)}}, ReasonNotRecorded)
	}
	if len(m.unfinished) != maxUnfinished {
		t.Errorf("%d wait", len(m.unfinished))
	}
}

// TestRecoverRetries holds that Recover waits for a store that is unavailable, and not for one
// whose data cannot be read.
func TestRecoverRetries(t *testing.T) {
	unavailable := errors.New("no response from the stream")
	for _, test := range []struct {
		errs []error
		want error
	}{
		{[]error{unavailable, unavailable, unavailable}, nil},
		{[]error{unavailable, fmt.Errorf("a session: %w", schema.ErrCorrupt)}, schema.ErrCorrupt},
		{[]error{fmt.Errorf("a session: %w", schema.ErrVersion)}, schema.ErrVersion},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			s.sessionsErrs = test.errs
			if err := s.manager().Recover(t.Context()); !errors.Is(err, test.want) || len(s.sessionsErrs) != 0 {
				t.Errorf("%v: %v, with %d errors left", test.errs, err, len(s.sessionsErrs))
			}
		})
	}
}
