package file

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

// noon is the time of the sinks under test, on a day whose file is today.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

const today = "2026-03-14.ndjson"

func open(t *testing.T, dir string) *Sink {
	t.Helper()
	s, err := New(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon }
	return s
}

// read returns the records of a folder, in the order of its files.
func read(t *testing.T, dir string) (all []sinktest.Got) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var r struct {
				OperationID      string `json:"operation_id"`
				Sequence         uint64
				Event, Log, Text string
				Base64           string `json:"log_base64"`
			}
			if err := json.Unmarshal(line, &r); err != nil || line[len(line)-1] != '\n' {
				t.Fatalf("%s has a line that is no whole record: %v: %q", name, err, line)
			}
			got := sinktest.Got{OperationID: r.OperationID, Sequence: r.Sequence, Event: r.Event, Log: []byte(r.Log), Text: r.Text}
			if r.Base64 != "" {
				if got.Log, err = base64.StdEncoding.DecodeString(r.Base64); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, got)
		}
	}
	return all
}

func write(t *testing.T, s *Sink, batch []sinks.Entry) {
	t.Helper()
	if err := s.Write(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	defer s.Close()
	write(t, s, sinktest.Entries(1, 3))
	for path, want := range map[string]fs.FileMode{filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, today): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	batch := sinktest.Entries(1, 10)
	write(t, s, batch[:6])
	first, err := os.ReadFile(filepath.Join(dir, today))
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Date(2026, 3, 15, 2, 0, 0, 0, time.FixedZone("", 3*3600)) } // still the 14th
	write(t, s, batch[6:8])
	s.now = func() time.Time { return noon.AddDate(0, 0, 1) }
	write(t, s, batch[8:])
	second, err := os.ReadFile(filepath.Join(dir, "2026-03-15.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(second, []byte("\n")); n != 2 || bytes.Count(first, []byte("\n")) != 6 || len(read(t, dir)) != 10 {
		t.Errorf("the second day has %d lines", n)
	}
}

// TestMoved: a file that was moved, as by a tool that archives it, is created anew.
func TestMoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	batch := sinktest.Entries(1, 10)
	write(t, s, batch[:6])
	if err := os.Rename(filepath.Join(dir, today), filepath.Join(t.TempDir(), today)); err != nil {
		t.Fatal(err)
	}
	write(t, s, batch[6:])
	if got := read(t, dir); len(got) != 4 {
		t.Errorf("the new file has %d records", len(got))
	}
}

// TestPartialLine cuts the file at every kind of place, as a crash does, and writes the last
// records again.
func TestPartialLine(t *testing.T) {
	batch := sinktest.Entries(1, 6)
	whole := t.TempDir()
	s := open(t, whole)
	write(t, s, batch)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(whole, today))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	last := len(data) - len(lines[5])
	for _, cut := range []int{1, len(lines[0]) - 1, len(lines[0]), last - 1, last, last + 1, len(data) - 1} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, today), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		kept := bytes.Count(data[:cut], []byte("\n"))
		s := open(t, dir)
		write(t, s, batch[kept:])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, today))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("cut at byte %d of %d: the file has %d bytes, and %d lines were kept", cut, len(data), len(got), kept)
		}
	}
}

// TestLongPartialLine has a partial line that is longer than what is read at once.
func TestLongPartialLine(t *testing.T) {
	dir := t.TempDir()
	before := "{}\n"
	if err := os.WriteFile(filepath.Join(dir, today), []byte(before+strings.Repeat("x", 3*repairChunk)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	defer s.Close()
	write(t, s, sinktest.Entries(1, 1))
	got, err := os.ReadFile(filepath.Join(dir, today))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), before+"{") || bytes.Count(got, []byte("\n")) != 2 {
		t.Errorf("the file has %d bytes and begins %.40q", len(got), got)
	}
}

// TestDiskFull has a device without room in the place of the file.
func TestDiskFull(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no " + full)
	}
	dir := t.TempDir()
	if err := os.Symlink(full, filepath.Join(dir, today)); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	defer s.Close()
	batch := sinktest.Entries(1, 3)
	err := s.Write(t.Context(), batch)
	e := sinks.AsError(err)
	if e.Verdict != sinks.Retry || !errors.Is(err, unix.ENOSPC) || !strings.Contains(e.Reason, "the disk is full") || e.DependsOnContent() {
		t.Fatalf("Write to a full disk returned %v: %+v", err, e)
	}
	sinktest.CheckAdvice(t, e)
	if err := os.Remove(filepath.Join(dir, today)); err != nil {
		t.Fatal(err)
	}
	write(t, s, batch)
	if got := read(t, dir); len(got) != 3 {
		t.Errorf("the file has %d records", len(got))
	}
}

// TestFailures checks the classification of errors of the file system.
func TestFailures(t *testing.T) {
	stopped, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the drain was removed")
	cancel(why)
	for _, test := range []struct {
		err  error
		ctx  context.Context
		want sinks.Verdict
	}{
		{unix.ENOSPC, t.Context(), sinks.Retry},
		{unix.EDQUOT, t.Context(), sinks.Retry},
		{unix.EIO, t.Context(), sinks.Retry},
		{unix.EACCES, t.Context(), sinks.Misconfigured},
		{unix.EPERM, t.Context(), sinks.Misconfigured},
		{unix.EROFS, t.Context(), sinks.Misconfigured},
		{unix.ENOTDIR, t.Context(), sinks.Misconfigured},
		{unix.EISDIR, t.Context(), sinks.Misconfigured},
		{unix.EIO, stopped, sinks.Retry},
	} {
		e := failure(test.ctx, "write to /archive", &os.PathError{Op: "write", Path: "/archive/" + today, Err: test.err})
		if e.Verdict != test.want {
			t.Errorf("%v has the verdict %v, want %v", test.err, e.Verdict, test.want)
		}
		sinktest.CheckAdvice(t, e)
		if test.ctx == stopped && (!errors.Is(e, context.Canceled) || !errors.Is(e, why)) {
			t.Errorf("the error of a stop is %v", e)
		}
	}
}

// TestSeveralSinks has sinks of one folder, as those of several processes, write at once.
func TestSeveralSinks(t *testing.T) {
	const writers, batches, records = 4, 20, 25
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range writers {
		s := open(t, dir)
		defer s.Close()
		entries := sinktest.Entries(uint64(i+1), batches*records)
		all.Go(func() {
			for b := range batches {
				if err := s.Write(t.Context(), entries[b*records:(b+1)*records]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if got := read(t, dir); len(got) != writers*batches*records {
		t.Errorf("%d records, want %d", len(got), writers*batches*records)
	}
}

// TestLocked: a Write waits for the sink that holds the file, and gives up with its context.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	batch := sinktest.Entries(1, 4)
	write(t, s, batch[:2])
	f, err := os.Open(filepath.Join(dir, today))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Write(ctx, batch[2:]) }() // ends with the cancel
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Write returned %v, which is not context.Canceled", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	write(t, s, batch[2:])
	if got := read(t, dir); len(got) != 4 {
		t.Errorf("the file has %d records", len(got))
	}
}

func TestOpenRefusesEmptyPath(t *testing.T) {
	_, err := Options{}.Open()
	if setting, ok := errors.AsType[*sinks.SettingError](err); !ok || setting.Setting != "path" {
		t.Errorf("a sink without a path: %v", err)
	}
}

// TestProbeCreatesNothing: a check may run where nothing is ever to be written.
func TestProbeCreatesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	defer s.Close()
	steps, ok := sinks.Try(t.Context(), s, nil)
	if !ok || len(steps) != 2 || steps[0].Name != stepFolder || steps[1].Name != probe.Acceptance {
		t.Fatalf("the steps are %+v", steps)
	}
	if facts := strings.Join(steps[0].Facts, "; "); !strings.Contains(facts, dir+" is created with the first record") || !strings.Contains(facts, "GB are free") {
		t.Errorf("the facts are %q", facts)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the check created %s: %v", filepath.Dir(dir), err)
	}
}
