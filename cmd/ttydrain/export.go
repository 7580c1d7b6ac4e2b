package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// The formats of export.
const (
	formatCast    = "asciicast"
	formatText    = "text"
	formatRecords = "ndjson"
)

// exportCommand holds the flags of one run of `export`.
type exportCommand struct {
	copyFlags
	format, file string
	oldFormat    string // --format
	idleLimit    time.Duration
	exact        bool
}

func newExportCommand() *cobra.Command {
	e := new(exportCommand)
	c := &cobra.Command{
		Use:   "export OPERATION",
		Short: "Write a session as an asciicast, as text or as its records",
		Long: `Writes a session in another format:

  asciicast   asciicast v2, for asciinema. The output goes through the filter of "ttydrain replay", since players write it to a terminal
              unchanged; --exact leaves the filter out. Bytes that are not UTF-8 become U+FFFD, since the format has no such bytes.
              Missing records become a marker.
  text        for reading: a line for each line of output, and other events in brackets
  ndjson      its records, once each and in order, as HTTPS drains get them: another copy, for "ttydrain audit" too

` + fromHelp,
		Example: "  ttydrain export 42 -o 42.cast && asciinema play 42.cast\n  ttydrain export 42 --output text --from siem.ndjson",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e.selection.Operation = args[0]
			return e.run(c.Context())
		},
	}
	e.endpointFlags(c)
	e.sourceFlags(c)
	f := c.Flags()
	f.StringVar(&e.format, "output", formatCast, "the `FORMAT`: asciicast, text or ndjson")
	f.StringVarP(&e.file, "file", "o", "-", "the `FILE` to write, which only you can read (default: standard output)")
	f.StringVar(&e.oldFormat, "format", "", "")
	_ = f.MarkDeprecated("format", "use --output") // fails only without the flag
	f.DurationVar(&e.idleLimit, "idle-limit", 0, "of an asciicast: shorten pauses to this `DURATION` (default: none)")
	f.BoolVar(&e.exact, "exact", false, "of an asciicast: all output unfiltered, even if it can harm a terminal")
	return c
}

func (e *exportCommand) run(ctx context.Context) error {
	formats := map[string]func(io.Writer, *replay.Session) error{
		formatCast:    func(w io.Writer, s *replay.Session) error { return replay.WriteCast(w, s, e.idleLimit, e.exact) },
		formatText:    replay.WriteText,
		formatRecords: replay.WriteRecords,
	}
	e.acceptOldOutput()
	write, ok := formats[e.format]
	switch {
	case !ok:
		return usageError{fmt.Errorf("--output %q is not known: expected asciicast, text or ndjson; the file is --file", e.format)}
	case e.idleLimit < 0:
		return usageError{errors.New("--idle-limit: expected a duration such as 2s")}
	}
	if err := e.parse(); err != nil {
		return err
	}
	progress, done := showProgress("reading")
	source, err := e.open(progress)
	if err != nil {
		return err
	}
	s, err := findSession(ctx, source, e.selection)
	done()
	if err != nil {
		return err
	}
	warnAboutDefects(os.Stderr, s)
	if e.file == "-" {
		return writeTo(os.Stdout, s, write)
	}
	return writeFile(e.file, func(f *os.File) error { return writeTo(f, s, write) })
}

// acceptOldOutput accepts --format, which is now --output, and --output FILE, which is now --file.
func (e *exportCommand) acceptOldOutput() {
	if e.oldFormat != "" && e.format == formatCast {
		e.format = e.oldFormat
	}
	if e.format != "-" && !strings.ContainsAny(e.format, "./") {
		return
	}
	fmt.Fprintln(os.Stderr, "Flag --output FILE has been deprecated, use --file: --output is the format")
	e.file, e.format = e.format, cmp.Or(e.oldFormat, formatCast)
}

func writeTo(f *os.File, s *replay.Session, write func(io.Writer, *replay.Session) error) error {
	w := bufio.NewWriterSize(f, 64<<10)
	if err := write(w, s); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	return nil
}

// writeFile writes a file that only this user can read, and creates it when it is complete.
func writeFile(name string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".ttydrain-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
