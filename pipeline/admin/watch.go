package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
)

// output returns a route that responds with a session's output if the caller may see it. The access
// is logged before any output is sent. The response ends when the server stops.
func (a *api) output(o openapi.Operation, action string, kind trail.Kind, respond func(context.Context, http.ResponseWriter, *operate.SessionStatus) error) route {
	o.Security = []string{schemeToken, schemeSession}
	return route{o, func(w http.ResponseWriter, r *http.Request) {
		r, err := a.authenticate(w, r)
		if err == nil {
			err = checkQuery(&o, r)
		}
		var session operate.SessionStatus
		if err == nil {
			session, err = a.sessions.Show(r.Context(), r.PathValue("id"))
		}
		if err == nil && session.PHI {
			err = a.mayShowPHI(r)
		}
		e := a.event(r, kind)
		e.App, e.Stack = session.App, session.Stack
		if session.Operation != "" {
			err = a.recordView(r, e, err)
		}
		a.logAction(r, action, statusOf(err), "phi", session.PHI)
		if err != nil {
			refuse(w, err)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		stop := context.AfterFunc(a.ending, func() { cancel(errStopping) })
		defer stop()
		out := stream(w)
		if err := respond(ctx, out, &session); err != nil && !out.begun {
			refuse(w, a.recordView(r, e, err))
		} else if err != nil && ctx.Err() == nil {
			a.log.Warn("admin: session output was sent incompletely", "operation", session.Operation, "error", err)
			panic(http.ErrAbortHandler) // lets the client detect the truncation
		}
	}}
}

// recorded calls each with the records of a session on LOGS, in order. If caughtUp is not nil, it
// continues with new records until the session ends, and calls caughtUp whenever all existing
// records were passed to each.
func (a *api) recorded(ctx context.Context, operation string, each func(*replay.Record) error, caughtUp func() error) error {
	if a.operator == nil {
		return errNoRouter
	}
	var decoder schema.Decoder
	var next uint64
	ended := errors.New("ended")
	err := a.operator.Segments(ctx, operate.SegmentQuery{Operation: operation, Follow: caughtUp != nil}, func(uint64) {}, func(_ uint64, data []byte, more bool) error {
		segment, err := decoder.Segment(data)
		if err != nil {
			return err
		}
		for i := range segment.Records {
			r := &segment.Records[i]
			if r.Sequence < next { // published twice
				continue
			}
			next = r.Sequence + 1
			if err := each(&replay.Record{Record: *r, Operation: segment.Operation}); err != nil {
				return err
			}
			if r.Event == schema.EventEnd {
				return ended
			}
		}
		if more || caughtUp == nil {
			return nil
		}
		return caughtUp()
	})
	if errors.Is(err, ended) {
		return nil
	}
	return err
}

// frames calls each with the frames of a record.
func frames(r *replay.Record, each func(replay.Frame) error) error {
	for f := range (&replay.Session{Records: []*replay.Record{r}}).Frames() {
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// cast responds with a session's output so far, as asciicast v2.
func (a *api) cast(ctx context.Context, w http.ResponseWriter, s *operate.SessionStatus) error {
	w.Header().Set("Content-Type", "application/x-asciicast")
	out := bufio.NewWriterSize(w, 64<<10)
	var cast *replay.Asciicast
	var line []byte
	err := a.recorded(ctx, s.Operation, func(r *replay.Record) error {
		if cast == nil {
			cast = replay.NewAsciicast(r.Operation, r.Time)
			// asciinema-player requires at least one event.
			if _, err := out.Write(append(cast.AppendHeader(line[:0]), "[0.0,\"o\",\"\"]\n"...)); err != nil {
				return err
			}
		}
		return frames(r, func(f replay.Frame) error {
			line = cast.AppendFrame(line[:0], f)
			_, err := out.Write(line)
			return err
		})
	}, nil)
	if err == nil && cast == nil {
		err = fmt.Errorf("session %s: %w: its output has expired, or is not enriched yet", s.Operation, operate.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// text responds with a session's output so far in readable form: each record's time and text.
func (a *api) text(ctx context.Context, w http.ResponseWriter, s *operate.SessionStatus) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := bufio.NewWriterSize(w, 64<<10)
	if err := a.recorded(ctx, s.Operation, func(r *replay.Record) error {
		_, err := fmt.Fprintf(out, "%s  %s\n", time.Unix(0, r.Time).UTC().Format("2006-01-02 15:04:05Z"), r.Text)
		return err
	}, nil); err != nil {
		return err
	}
	return out.Flush()
}
