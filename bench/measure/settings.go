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

// Settings apply to a whole run of the benchmark.
type Settings struct {
	Base       string // folder that Dir is created in; "" for the default
	Dir        string // temporary folder, set by [InFolder]
	Seed       uint64 // of the terminal output
	Records    int    // for each drain; slow drains and peers get a share of them
	Sessions   int    // that the records belong to
	Runs       int    // of each subject
	Echoes     int    // typed on each SSH server
	CatBytes   int64  // size of the file that cat shows
	BinaryPath string // of ttydrain; "" to build it
	Profiles   string // folder for CPU profiles, or ""
	Progress   func(format string, args ...any)
	Terminals  int           // open at the same time, with a user typing in each
	Typing     time.Duration // for which they type
	Attack     time.Duration // of each attack
	GrowthSettings
}

// GrowthSettings are the settings of package growth.
type GrowthSettings struct {
	LatencyTime  time.Duration // of a latency measurement
	LiveSessions int           // whose latency is measured
	LiveRate     float64       // lines per second of all of them
	LiveBurst    int           // lines that each of them shows at once
	Soak         time.Duration
	Backlog      int // lines that a drain misses before it catches up
	GrowthLines  int // the largest number of lines
}

// Profile returns the file for the CPU profile of a run, or "".
func (s *Settings) Profile(subject string, run int) string {
	if s.Profiles == "" {
		return ""
	}
	return filepath.Join(s.Profiles, strings.ReplaceAll(subject, "/", "-")+"-"+strconv.Itoa(run+1)+".pprof")
}

// Binary returns the path of the ttydrain binary to measure. It builds it when it is first needed.
func (s *Settings) Binary(ctx context.Context) (string, error) {
	if s.BinaryPath != "" {
		return s.BinaryPath, nil
	}
	binary := filepath.Join(s.Dir, "ttydrain")
	if _, err := os.Stat(binary); err != nil {
		// Built in the folder of ttydrain's own module, with the dependencies of the released binary.
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

// InFolder creates the temporary folder s.Dir, calls do, and removes the folder.
func InFolder(s *Settings, do func() error) error {
	// A sandbox has its own /tmp and /var/tmp and, if this process is root, runs as an unprivileged
	// user: the file that cat shows must be elsewhere, and not in root's home.
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
