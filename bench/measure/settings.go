package measure

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settings are for the whole of a benchmark.
type Settings struct {
	Base       string // folder in which dir is; "" for one of the system's
	Dir        string // for files that do not outlive it
	Seed       uint64
	Records    int // of each drain, or a part of them
	Sessions   int
	Runs       int
	Echoes     int
	CatBytes   int64
	BinaryPath string // a binary; "" to build it
	Profiles   string // folder for processor profiles, or ""
	Progress   func(format string, args ...any)
	Terminals  int           // at once
	Typing     time.Duration // how long people type in them
	Attack     time.Duration // how long each attack lasts
	GrowthSettings
}

// growthSettings are of what grows, lasts, or is in trouble.
type GrowthSettings struct {
	LatencyTime  time.Duration
	LiveSessions int
	LiveRate     float64
	LiveBurst    int
	Soak         time.Duration
	Backlog      int
	GrowthLines  int
}

// profile is the file for the processor profile of a run, or "".
func (s *Settings) Profile(subject string, run int) string {
	if s.Profiles == "" {
		return ""
	}
	return filepath.Join(s.Profiles, strings.ReplaceAll(subject, "/", "-")+"-"+strconv.Itoa(run+1)+".pprof")
}

// binary is the ttydrain to measure.
func (s *Settings) Binary(ctx context.Context) (string, error) {
	if s.BinaryPath != "" {
		return s.BinaryPath, nil
	}
	binary := filepath.Join(s.Dir, "ttydrain")
	if _, err := os.Stat(binary); err != nil {
		// In the folder of ttydrain's own module, so that it has the dependencies that it is shipped with.
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ttydrain/ttydrain").Output()
		if err != nil {
			return "", fmt.Errorf("find the source of ttydrain (run the benchmark in its folder, or set -ttydrain): %w", err)
		}
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/ttydrain")
		build.Dir = strings.TrimSpace(string(root))
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build ttydrain: %w\n%s", err, out)
		}
	}
	return binary, nil
}

// inFolder calls do while s.dir is a folder of its own.
func InFolder(s *Settings, do func() error) error {
	// A session has a /tmp and a /var/tmp of its own and, where this is root, is nobody: the file that
	// cat shows must be elsewhere, and not in root's home.
	var err error
	base := cmp.Or(s.Base, "/var/lib")
	if s.Base == "" && os.Geteuid() != 0 {
		if base, err = os.UserCacheDir(); err != nil {
			return err
		}
	}
	if s.Dir, err = os.MkdirTemp(base, "ttydrain-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.Dir)
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	return do()
}
