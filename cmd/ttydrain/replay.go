package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// replaying is one run of `replay`.
type replaying struct {
	copyFlags
	speed            float64
	idleLimit, start time.Duration
	startGiven       bool
	follow, raw      bool
	title            titleBar
}

func newReplayCommand() *cobra.Command {
	r := new(replaying)
	c := &cobra.Command{
		Use:   "replay OPERATION",
		Short: "Play a session as it was seen",
		Long: `Plays a session as it was seen, on a terminal with its rhythm.

` + fromHelp + `

Keys:
  space         pause, and go on           . (a dot)    show what comes next, and pause
  + and -       twice, and half as fast    0 to 9       jump to the start, and to so many tenths
  left, right   5 seconds back, and on     Home, End    jump to the start, and to the end
  q, Ctrl-C     quit

What the session showed goes through a filter, so that it can do nothing to your terminal but show: titles, colours of the palette,
links, the clipboard, graphics, and all that has a terminal answer or send input are left out. A terminal smaller than the session's
breaks lines elsewhere: you are told, and can enlarge it.

With --raw, or where the output is no terminal, all that was shown is written at once: exactly, and through the filter on a terminal.`,
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
	f.Float64Var(&r.speed, "speed", 1, "how many seconds of the session pass in one, as a `NUMBER`")
	f.DurationVar(&r.idleLimit, "idle-limit", 0, "pass over pauses that are longer than this `DURATION` (default: none)")
	f.DurationVar(&r.start, "start", 0, "begin this `DURATION` after the session's start, as 1m30s")
	f.BoolVar(&r.follow, "follow", false, "go on with a session that runs; without --start, from now on")
	f.BoolVar(&r.raw, "raw", false, "write all at once")
	return c
}

func (r *replaying) run(ctx context.Context) error {
	switch {
	case !(r.speed >= replay.MinSpeed && r.speed <= replay.MaxSpeed):
		return usageError{fmt.Errorf("--speed %v: expected a number from %v to %v", r.speed, replay.MinSpeed, replay.MaxSpeed)}
	case r.idleLimit < 0 || r.start < 0:
		return usageError{errors.New("--idle-limit and --start: expected a duration such as 2s")}
	case r.follow && !r.isStream():
		return usageError{errors.New("--follow: a copy has no session that runs: leave --from out, to read the LOGS stream")}
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
		warnOfDefects(os.Stderr, s)
	}
	timeline := replay.NewTimeline(s, r.idleLimit)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var more chan *replay.Record // nil where nothing is followed
	if follow {
		stream := *source.(*replay.Stream)
		stream.Progress, stream.After = nil, stream.Last
		more = make(chan *replay.Record)
		go func() { // ends with the session, or with ctx
			defer close(more)
			f := replay.Follower{Stream: &stream, Interrupted: func(error) {}} // a message would disturb what is shown
			if err := f.Run(ctx, func(r *replay.Record) error {
				select {
				case more <- r:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if r.Event == schema.EventEnd {
					return replay.ErrStop
				}
				return nil
			}); err != nil {
				cancel(err)
			}
		}()
	}
	if r.raw || !term.IsTerminal(int(os.Stdout.Fd())) {
		return writeAll(ctx, timeline, more)
	}
	fmt.Fprintf(os.Stderr, "ttydrain: %s\n", describeSession(s))
	if follow && !r.startGiven {
		r.start = timeline.Duration()
	}
	return r.play(ctx, s, timeline, more)
}

// writeAll writes at once what was shown, and what comes. A terminal gets it through the filter.
func writeAll(ctx context.Context, timeline *replay.Timeline, more <-chan *replay.Record) error {
	var filter *replay.Filter
	if term.IsTerminal(int(os.Stdout.Fd())) {
		filter = new(replay.Filter)
		defer func() { os.Stdout.Write(filter.AppendReset(nil)) }()
	}
	written := 0
	for {
		for ; written < len(timeline.Moments()); written++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			m := &timeline.Moments()[written]
			shown := m.Bytes
			if filter != nil {
				shown = filter.Append(nil, timeline.Show(m))
			}
			if _, err := os.Stdout.Write(shown); err != nil {
				return fmt.Errorf("write what was shown: %w", err)
			}
		}
		if more == nil {
			return nil
		}
		select {
		case r, ok := <-more:
			if !ok {
				return context.Cause(ctx)
			}
			timeline.Add(r)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// play plays a session on the terminal, which is afterwards as it was before, whatever happens but
// a kill.
func (r *replaying) play(ctx context.Context, s *replay.Session, timeline *replay.Timeline, more <-chan *replay.Record) (err error) {
	keyboard, err := openKeyboard()
	if err != nil {
		return err
	}
	restore, err := client.MakeRaw(keyboard)
	if err != nil {
		return err
	}
	back := sync.OnceValue(func() error {
		r.title.leave()
		return errors.Join(client.Discard(keyboard), restore())
	})
	defer func() { err = errors.Join(err, back()) }() // in a panic, too
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := catchSignals()
	defer signals.stop()
	received := 0
	defer signals.handle(func(sig syscall.Signal) {
		cancel(endedBy(sig))
		if received++; received > 1 { // an output that nobody takes holds us up
			restore()
			os.Exit(128 + int(sig))
		}
	})()

	keys, done := make(chan replay.Key), make(chan struct{})
	defer close(done)
	go replay.ReadKeys(keyboard, keys, done) // ends with a key after done, or with the process
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	go func() { // ends with done
		for {
			select {
			case <-resized:
			case <-done:
				return
			}
			select {
			case keys <- replay.KeyRefresh:
			case <-done:
				return
			}
		}
	}()

	r.title.operation = s.Operation.ID
	if quit, err := r.awaitRoom(ctx, timeline, keys); quit || err != nil {
		return err
	}
	// What the terminal had goes up, to where it can be found again.
	_, height := windowSize()
	os.Stdout.WriteString(strings.Repeat("\r\n", height) + "\x1b[H\x1b[2J")
	p := &replay.Player{Timeline: timeline, Out: os.Stdout, Speed: r.speed, Start: r.start, Keys: keys, More: more, Status: r.title.tell}
	ended, err := p.Run(ctx)
	if err := errors.Join(err, back()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr)
	if moments := timeline.Moments(); ended && timeline.Ended() {
		fmt.Fprintf(os.Stderr, "ttydrain: %s\n", moments[len(moments)-1].Notice)
	}
	return nil
}

// openKeyboard gives the terminal that keys come from, whatever standard input is.
func openKeyboard() (*os.File, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return os.Stdin, nil
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal for the keys: %w; with --raw all is written at once", err)
	}
	return f, nil
}

// windowSize is the local terminal's.
func windowSize() (width, height int) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// awaitRoom tells where the terminal is smaller than the session's at any time, and waits for a
// larger one or a key.
func (r *replaying) awaitRoom(ctx context.Context, timeline *replay.Timeline, keys <-chan replay.Key) (quit bool, err error) {
	width, height := 0, 0
	for _, m := range timeline.Moments() {
		width, height = max(width, m.Width), max(height, m.Height)
	}
	for told := [2]int{}; ; {
		w, h := windowSize()
		if w >= width && h >= height {
			return false, nil
		}
		if now := [2]int{w, h}; now != told {
			told = now
			fmt.Fprintf(os.Stderr, "ttydrain: the session's terminal has up to %d by %d, and yours %d by %d, where its lines break elsewhere: enlarge it, or press space to play all the same, or q\r\n", width, height, w, h)
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case k := <-keys:
			if k == replay.KeyQuit || k != replay.KeyRefresh {
				return k == replay.KeyQuit, nil
			}
		}
	}
}

// A titleBar tells in the terminal's title what a player does: nothing of the show is written over
// by it.
type titleBar struct {
	operation string
	saved     bool // the title that was there before
}

// terminalsWithTitles are the beginnings of the names (TERM) of terminals that have a title.
var terminalsWithTitles = []string{"xterm", "screen", "tmux", "rxvt", "alacritty", "foot", "kitty", "wezterm", "vte", "konsole", "ghostty", "st-"}

func (b *titleBar) tell(s replay.Status) {
	if !slices.ContainsFunc(terminalsWithTitles, func(name string) bool { return strings.HasPrefix(os.Getenv("TERM"), name) }) {
		return
	}
	if !b.saved { // XTWINOPS, which has no answer
		os.Stdout.WriteString("\x1b[22;2t")
		b.saved = true
	}
	text := fmt.Sprintf("session %s: ", b.operation)
	switch {
	case s.Paused:
		text += "paused"
	case s.Live:
		text += "live"
	default:
		text += "playing"
	}
	text += fmt.Sprintf(" at %s of %s, speed %v", s.At.Round(time.Second/10), s.Duration.Round(time.Second/10), s.Speed)
	if w, h := windowSize(); s.Width > w || s.Height > h {
		text += fmt.Sprintf(", in a terminal of %d by %d", s.Width, s.Height)
	}
	os.Stdout.WriteString("\x1b]2;ttydrain: " + client.Printable(text) + "\a")
}

// leave brings the title back.
func (b *titleBar) leave() {
	if b.saved {
		os.Stdout.WriteString("\x1b[23;2t")
	}
}
