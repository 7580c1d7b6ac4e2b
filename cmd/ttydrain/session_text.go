package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// findSession reads the session of one operation from a copy. Its errors name the commands
// and flags that help.
func findSession(ctx context.Context, source replay.Copy, sel replay.Selection) (*replay.Session, error) {
	s, err := replay.FindSession(ctx, source, sel)
	if none, ok := errors.AsType[*replay.NotFoundError](err); ok {
		if none.Broken > 0 {
			return nil, fmt.Errorf("%w; %d records can't be read: see \"ttydrain audit\"", none, none.Broken)
		}
		return nil, fmt.Errorf("%w: \"ttydrain audit\" lists the sessions of a copy", none)
	}
	if several, ok := errors.AsType[*replay.AmbiguousError](err); ok {
		var each []string
		for _, s := range several.Sessions {
			each = append(each, fmt.Sprintf("one of %s on %s, %s", cell(s.Operation.User.Name), cell(s.Operation.App), timeflag.Format(s.Started)))
		}
		return nil, fmt.Errorf("%w: %s: choose with --app, --user or --since", several, strings.Join(each, "; "))
	}
	return s, err
}

// describeSession returns the session's ID, user, app, start and command in one line.
func describeSession(s *replay.Session) string {
	op := s.Operation
	text := "session " + op.ID
	if op.User.Name != "" { // not every copy has the user
		text += " of " + cell(op.User.Name)
	}
	text += fmt.Sprintf(" on %s, %s", cell(op.App), timeflag.Format(s.Started))
	if op.Command != "" {
		text += ": " + cell(op.Command)
	}
	return text
}

// warnAboutDefects prints the ways in which a session is not, or may not be, as it was.
func warnAboutDefects(w io.Writer, s *replay.Session) {
	warn := func(format string, args ...any) { fmt.Fprintf(w, "ttydrain: "+format+"\n", args...) }
	d := s.Defects()
	if d.Missing > 0 {
		warn("%s missing", areRecords(d.Missing))
	}
	if d.Conflicting > 0 {
		warn("%s there in another form, too, which is not shown: see \"ttydrain audit\"", areRecords(uint64(d.Conflicting)))
	}
	if d.Broken > 0 {
		warn("%s can't be read: see \"ttydrain audit\"", plural(uint64(d.Broken), "record"))
	}
	if d.NoEnd {
		warn("its end is missing: it is still running, or its end is not delivered yet")
	}
	switch {
	case d.Lost.Has(replay.LostLog):
		warn("this copy does not have the exact bytes of all records: their texts are shown instead")
	case d.Lost.Has(replay.LostTiming), d.Lost.Has(replay.LostTime):
		warn("this copy does not have the times of all output")
	}
}

// areRecords returns a number of records with the verb.
func areRecords(n uint64) string {
	if n == 1 {
		return "1 record is"
	}
	return plural(n, "record") + " are"
}
