package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

func (a *api) registerWatching(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/sessions/{id}/cast", a.showing("replayed a session", a.cast))
	mux.HandleFunc("GET /api/v1/sessions/{id}/text", a.showing("read a session", a.text))
	mux.HandleFunc("GET /api/v1/sessions/{id}/live", a.showing("watched a session", a.live))
}

// showing answers with what a session showed, for who may see it, of which there is a note before
// any of it. The answer ends with the server.
func (a *api) showing(deed string, answer func(context.Context, http.ResponseWriter, *http.Request, *operate.SessionStatus) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, err := a.admit(w, r)
		var session operate.SessionStatus
		if err == nil {
			session, err = a.sessions.Show(r.Context(), r.PathValue("id"))
		}
		if err == nil && session.PHI {
			err = a.mayShowPHI(r)
		}
		a.note(r, deed, statusOf(err), "phi", session.PHI)
		if err != nil {
			refuse(w, err)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		stop := context.AfterFunc(a.ending, func() { cancel(errEnding) })
		defer stop()
		out := stream(w)
		if err := answer(ctx, out, r, &session); err != nil && !out.begun {
			refuse(w, err)
		} else if err != nil && ctx.Err() == nil {
			a.log.Warn("admin: what a session showed was sent in part", "operation", session.Operation, "error", err)
			panic(http.ErrAbortHandler) // who reads it sees that it is not whole
		}
	}
}

// recorded calls each with the records of a session that are on LOGS, in their order, and, where
// caught is not nil, goes on with those that come, until the session ends: caught is called
// whenever each has got all that are there.
func (a *api) recorded(ctx context.Context, operation string, each func(*replay.Record) error, caught func() error) error {
	if a.operator == nil {
		return errNoRouter
	}
	var decoder schema.Decoder
	var next uint64
	ended := errors.New("ended")
	err := a.operator.Segments(ctx, operate.SegmentQuery{Operation: operation, Follow: caught != nil}, func(uint64) {}, func(_ uint64, data []byte, more bool) error {
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
		if more || caught == nil {
			return nil
		}
		return caught()
	})
	if errors.Is(err, ended) {
		return nil
	}
	return err
}

var errNoRouter = errors.New("this ttydrain runs without the router, which reads what was recorded: ask one that runs it, at its admin address")

// frames are those of one record.
func frames(r *replay.Record, each func(replay.Frame) error) error {
	for f := range (&replay.Session{Records: []*replay.Record{r}}).Frames() {
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// cast answers with what a session has shown so far, as asciicast v2.
func (a *api) cast(ctx context.Context, w http.ResponseWriter, _ *http.Request, s *operate.SessionStatus) error {
	w.Header().Set("Content-Type", "application/x-asciicast")
	out := bufio.NewWriterSize(w, 64<<10)
	var cast *replay.Asciicast
	var line []byte
	err := a.recorded(ctx, s.Operation, func(r *replay.Record) error {
		if cast == nil {
			cast = replay.NewAsciicast(r.Operation, r.Time)
			// Its player takes no recording without an event.
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
		err = fmt.Errorf("session %s: %w: what it showed is not kept any more, or was not enriched yet", s.Operation, operate.ErrNotThere)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// text answers with what a session has shown so far, for reading: each record's time and text.
func (a *api) text(ctx context.Context, w http.ResponseWriter, _ *http.Request, s *operate.SessionStatus) error {
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
