package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/tty"
)

// replayCommand holds the flags of one run of `replay`.
type replayCommand struct {
	copyFlags
	speed            float64
	idleLimit, start time.Duration
	startGiven       bool
	follow, raw      bool
}

func newReplayCommand() *cobra.Command {
	r := new(replayCommand)
	c := &cobra.Command{
		Use:   "replay OPERATION",
		Short: "Play a session",
		Long: `Plays a session on a terminal as its user saw it, at the original speed.

` + fromHelp + `

Keys:
  space         pause, resume              . (a dot)    show the next output, and pause
  + and -       double, halve the speed    0 to 9       jump to the start, to tenths of the session
  left, right   5 seconds back, forward    Home, End    jump to the start, to the end
  q, Ctrl-C     quit

The output goes through a filter, so that it cannot harm your terminal: titles, colours of the palette, links, the clipboard, graphics,
and everything that makes a terminal answer or send input are left out. A terminal smaller than the session's breaks lines in other
places: replay warns, and waits until you enlarge it or continue.

With --raw, or if standard output is no terminal, the whole output is written at once: through the filter to a terminal, exact otherwise.`,
		Example: "  ttydrain replay 42 --speed 2 --idle-limit 2s\n  ttydrain replay 42 --from siem.ndjson.gz\n  ttydrain replay 42 --follow",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.selection.Operation = args[0]
			r.startGiven = c.Flags().Changed("start")
			return r.run(c.Context())
		},
	}
	r.endpointFlags(c)
	r.sourceFlags(c)
	f := c.Flags()
	f.Float64Var(&r.speed, "speed", 1, "the speed, as a `NUMBER`: 2 is twice as fast")
	f.DurationVar(&r.idleLimit, "idle-limit", 0, "shorten pauses to this `DURATION` (default: none)")
	f.DurationVar(&r.start, "start", 0, "start this `DURATION` into the session, such as 1m30s")
	f.BoolVar(&r.follow, "follow", false, "follow a running session; without --start, from now on")
	f.BoolVar(&r.raw, "raw", false, "write the whole output at once")
	return c
}

func (r *replayCommand) run(ctx context.Context) error {
	switch {
	case !(r.speed >= replay.MinSpeed && r.speed <= replay.MaxSpeed):
		return usageError{fmt.Errorf("--speed %v: expected a number from %v to %v", r.speed, replay.MinSpeed, replay.MaxSpeed)}
	case r.idleLimit < 0 || r.start < 0:
		return usageError{errors.New("--idle-limit and --start: expected a duration such as 2s")}
	case r.follow && !r.isStream():
		return usageError{errors.New("--follow: a copy has no running session: leave --from out, to read the LOGS stream")}
	}
	if err := r.parse(); err != nil {
		return err
	}
	progress, done := showProgress("reading")
	source, err := r.open(progress)
	if err != nil {
		return err
	}
	s, err := findSession(ctx, source, r.selection)
	done()
	if err != nil {
		return err
	}
	follow := r.follow && s.End() == nil
	if !follow {
		warnAboutDefects(os.Stderr, s)
	}
	timeline := replay.NewTimeline(s, r.idleLimit)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var more chan *replay.Record // nil if nothing is followed
	if follow {
		stream := *source.(*replay.Stream)
		stream.Progress, stream.After = nil, stream.Last
		more = make(chan *replay.Record)
		go func() { // ends with the session, or with ctx
			defer close(more)
			f := replay.Follower{Stream: &stream, Selection: r.selection, Interrupted: func(error) {}} // a message would disturb the playback
			if err := f.Run(ctx, func(r *replay.Record) error {
				select {
				case more <- r:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}); err != nil {
				cancel(err)
			}
		}()
	}
	if r.raw || !term.IsTerminal(int(os.Stdout.Fd())) {
		return tty.WriteAll(ctx, timeline, more)
	}
	fmt.Fprintf(os.Stderr, "ttydrain: %s\n", describeSession(s))
	if follow && !r.startGiven {
		r.start = timeline.Duration()
	}
	p := &tty.Player{Operation: s.Operation.ID, Timeline: timeline, Speed: r.speed, Start: r.start, More: more}
	return p.Play(ctx)
}
