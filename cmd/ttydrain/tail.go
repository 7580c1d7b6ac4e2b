package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/schema"
)

// tailCommand holds the flags and the output of one run of `tail`.
type tailCommand struct {
	copyFlags
	lines    int
	noFollow bool

	out     *bufio.Writer
	colour  bool
	encoder replay.RecordEncoder
	line    []byte
}

func newTailCommand() *cobra.Command {
	t := new(tailCommand)
	c := &cobra.Command{
		Use:   "tail",
		Short: "Follow the output of sessions, line by line",
		Long: `Follows the output of sessions, from the LOGS stream of the serve that runs with the configuration: each line with the time, the
session and its user, as text without escape sequences. A line appears when it is complete, or ten seconds after its first byte. With
--operation it ends with the session. It continues after restarts of serve.

With --output json it prints the records, as HTTPS drains get them.`,
		Example: "  ttydrain tail --app web -n 100\n  ttydrain tail --operation 42 --since 1h --output json | jq -r .text",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return t.run(c.Context()) },
	}
	t.remote.flags(c)
	f := c.Flags()
	f.StringVar(&t.selection.Operation, "operation", "", "only the session with this `ID`")
	f.StringVar(&t.selection.App, "app", "", "only sessions on the app with this `NAME`")
	f.StringVar(&t.selection.User, "user", "", "only sessions of the user with this `ID`, e-mail address or name")
	f.Var(&t.times.Since, "since", "start with the output at this `TIME`: "+timeflag.Usage)
	f.Var(&t.times.Until, "until", "stop before the output at this `TIME`")
	f.IntVarP(&t.lines, "lines", "n", 0, "start with the last `NUMBER` of lines (with --since: of those since then)")
	f.BoolVar(&t.noFollow, "no-follow", false, "stop at the end of the recorded output")
	return c
}

func (t *tailCommand) run(ctx context.Context) error {
	if err := t.parse(); err != nil {
		return err
	}
	if t.lines < 0 {
		return usageError{errors.New("--lines: expected a number from 0 on")}
	}
	stream, err := t.stream(nil)
	if err != nil {
		return err
	}
	t.out = bufio.NewWriter(os.Stdout)
	t.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	reported := false // the error of this interruption
	f := &replay.Follower{Stream: stream, Selection: t.selection, Interrupted: func(err error) {
		if !reported {
			fmt.Fprintf(os.Stderr, "ttydrain: %v: retrying\n", err)
		}
		reported = true
	}}
	ended := false
	until := t.selection.Until
	if t.lines > 0 || !t.selection.Since.IsZero() || !until.IsZero() || t.selection.Operation != "" {
		if ended, err = t.recent(ctx, f); err != nil {
			return t.stopped(ctx, err)
		}
	} else {
		stream.Now = !t.noFollow
	}
	if ended {
		fmt.Fprintf(os.Stderr, "ttydrain: session %s has ended\n", t.selection.Operation)
	}
	if ended || t.noFollow || !until.IsZero() && !until.After(time.Now()) {
		return nil
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, errUntil)
		defer cancel()
	}
	return t.stopped(ctx, f.Run(ctx, func(r *replay.Record) error {
		reported = false
		return errors.Join(t.print(r), t.flush())
	}))
}

// errUntil is the cause of the end at --until.
var errUntil = errors.New("the time of --until has come")

// recent prints the recorded output, and reports whether the selected session has ended. Progress
// is shown until it is printed.
func (t *tailCommand) recent(ctx context.Context, f *replay.Follower) (ended bool, err error) {
	if t.lines > 0 || t.selection.Since.IsZero() {
		progress, done := showProgress("reading")
		defer done()
		f.Stream.Progress = progress
	}
	ended, err = f.Recent(ctx, t.lines, t.print)
	f.Stream.Progress = nil
	return ended, errors.Join(err, t.flush())
}

// stopped returns nil instead of the error of a requested stop.
func (t *tailCommand) stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// print prints one record in a line.
func (t *tailCommand) print(r *replay.Record) error {
	if t.output == outputJSON {
		var err error
		if t.line, err = t.encoder.Append(t.line[:0], r); err != nil {
			return err
		}
		_, err = t.out.Write(t.line)
		return err
	}
	if r.Event == schema.EventCheckpoint { // which is for audits
		return nil
	}
	op := r.Operation
	head := fmt.Sprintf("%s %s %s@%s", timeflag.Format(time.Unix(0, r.Time)), op.ID, cell(op.User.Name), cell(op.App))
	text := strings.ReplaceAll(client.Printable(string(r.Text)), "\n", " ")
	if r.Event != schema.EventOutput {
		text = "[" + text + "]"
	}
	if t.colour {
		head = "\x1b[36m" + head + "\x1b[0m"
	}
	_, err := fmt.Fprintf(t.out, "%s  %s\n", head, text)
	return err
}

func (t *tailCommand) flush() error {
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
