package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		dir := filepath.Join(t.TempDir(), "archive", "sessions")
		sink := open(t, dir)
		return sinktest.Target{
			Sink: sink, Bytes: true, Concurrent: Options{}.Limits().Concurrency > 1,
			Received: func(t *testing.T, _ int) []sinktest.Got { return read(t, dir) },
			Local: &sinktest.Local{
				Step: stepFolder, Verdict: sinks.Misconfigured,
				Break: func() { breakFolder(t, dir) },
				Mend:  func() { mendFolder(t, dir) },
			},
		}
	})
}

// breakFolder puts a file where the folder is.
func breakFolder(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil { // which the sink may not have created yet
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mendFolder(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}
