package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// stepFolder is the step of a connectivity check that this sink has instead of those of a network.
const stepFolder = "folder"

// lowSpace is the free space in bytes below which a check warns.
const lowSpace = 100 << 20

// Probe implements [sinks.Sink]: it checks whether the folder can be written to, or created. It
// creates nothing.
func (s *Sink) Probe(ctx context.Context) error {
	report := probe.From(ctx)
	step, err := s.look(ctx)
	if err != nil {
		step.Result, step.Problem, step.Do = probe.ResultFailed, err.Reason, err.Advice
		if err.Err != nil {
			step.Problem += " (" + err.Err.Error() + ")"
		}
		report.Report(step)
		return err
	}
	report.Report(step)
	return nil
}

func (s *Sink) look(ctx context.Context) (probe.Step, *sinks.Error) {
	step := probe.Step{Name: stepFolder, Result: probe.ResultOK}
	doing := "look at " + s.dir
	if ctx.Err() != nil {
		return step, failure(ctx, doing, ctx.Err())
	}
	// The folder, or the one in which it would be created.
	dir := s.dir
	info, err := os.Stat(dir)
	for errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	if err == nil {
		if denied := unix.Access(dir, unix.W_OK|unix.X_OK); denied != nil {
			err = &os.PathError{Op: "access", Path: dir, Err: denied}
		}
	}
	var space unix.Statfs_t
	if err == nil {
		if failed := unix.Statfs(dir, &space); failed != nil {
			err = &os.PathError{Op: "statfs", Path: dir, Err: failed}
		}
	}
	if err != nil {
		return step, failure(ctx, doing, err)
	}
	fact := s.dir + " may be written to"
	if dir != s.dir {
		fact = s.dir + " is created with the first record"
	}
	free := uint64(space.Bavail) * uint64(space.Bsize)
	step.Facts = []string{fact, fmt.Sprintf("%.1f GB are free", float64(free)/1e9)}
	if free < lowSpace {
		step.Result, step.Problem, step.Do = probe.ResultWarning, "the disk of "+dir+" is almost full", "free disk space"
	}
	return step, nil
}

// failure classifies an error of the file system.
func failure(ctx context.Context, doing string, err error) *sinks.Error {
	e := &sinks.Error{Verdict: sinks.Retry, Err: err}
	switch {
	case ctx.Err() != nil:
		e.Reason, e.Advice = doing+": stopped before everything was written", "try again"
		e.Err = fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		e.Reason, e.Advice = doing+": the disk is full", "free disk space, or raise the quota"
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, doing+": the user that ttydrain runs as may not", "allow it there, or correct path"
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR):
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, doing+": it is no folder", "correct path, or remove what is there"
	default:
		e.Reason, e.Advice = doing+": the file system failed", "look into the system's log"
	}
	return e
}
