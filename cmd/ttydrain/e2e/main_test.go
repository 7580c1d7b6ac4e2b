package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// patience limits every wait of these tests. It is long, since nothing is measured by it.
const patience = 3 * time.Minute

// command is the package of the binary that these tests run.
const command = "github.com/ttydrain/ttydrain/cmd/ttydrain"

// The results of a reload, as config_reloads_total counts them.
const (
	reloadOK      = "ok"
	reloadRefused = "refused"
)

// nodes are the Elasticsearch nodes of this package's tests.
var nodes estest.Shared

// programs are the binaries that the tests run.
var programs struct {
	dir         string       // set by TestMain
	usual, fast builtProgram // fast does not detect races
	nats        builtProgram // the NATS server's own
	static      builtProgram // those of the images: its file is their folder
}

func TestMain(m *testing.M) {
	if sandbox.InitMain() {
		return
	}
	clienttest.ResetSignals()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ttydrain-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs.dir = dir
	// Some tests keep a hundred megabytes of output and compare them: without a limit, their garbage
	// takes a multiple of that before it is collected, and the race detector as much again.
	debug.SetMemoryLimit(1 << 30)
	return nodes.Main(m)
}

// goBuild builds packages, and looks at the sources. go test does not know that the tests depend on
// them, and would reuse cached results of other code, but it does know the files that a test has
// looked at.
func goBuild(args ...string) error {
	if err := watchSources("../../.."); err != nil {
		return fmt.Errorf("look at the sources: %w", err)
	}
	if out, err := exec.Command("go", append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// watchSources looks at each source under root.
func watchSources(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir():
			if path != root && name[0] == '.' {
				return fs.SkipDir
			}
			return nil
		case strings.HasSuffix(name, "_test.go"), !entry.Type().IsRegular():
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}

// A builtProgram is built when the first test needs it.
type builtProgram struct {
	once sync.Once
	file string // after once, as is err
	err  error
}

// program returns the path of the binary, which detects races if the tests do.
func program(t testing.TB) string {
	t.Helper()
	if underRace() {
		return programs.usual.build(t, "ttydrain-race", command, "-race")
	}
	return fastProgram(t)
}

// fastProgram returns the path of a binary that does not detect races, for large tests.
func fastProgram(t testing.TB) string {
	t.Helper()
	return programs.fast.build(t, "ttydrain", command)
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// build builds a package in a folder of that name, and returns the path of the binary.
func (b *builtProgram) build(t testing.TB, name, source string, flags ...string) string {
	t.Helper()
	b.once.Do(func() {
		// In a folder of its own, so that it is called ttydrain.
		b.file = filepath.Join(programs.dir, name, "ttydrain")
		b.err = goBuild(append(append([]string{"-o", b.file}, flags...), source)...)
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.file
}

// requester returns the user and the host of these tests, as the commands record them.
func requester(t testing.TB) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username + " at " + host
}

// need returns the path of an external program. Without it the test is skipped, or fails if
// TTYDRAIN_REQUIRE_SERVERS is 1.
func need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, name+" is not installed")
	}
	return path
}

func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
		t.Fatalf("NOT TESTED: %s, and TTYDRAIN_REQUIRE_SERVERS=1 requires it", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s", what)
}

// await waits until something holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	awaitWhile(t, what, holds, func() int { return 0 })
}

// awaitWhile waits until something holds, for as long as progress grows. It checks less and less
// often, and for at most half of the time, since a check can be expensive.
func awaitWhile(t testing.TB, what string, holds func() bool, progress func() int) {
	t.Helper()
	deadline := time.After(patience)
	reached := 0
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		asked := time.Now()
		if holds() {
			return
		}
		select {
		case <-deadline:
			now := progress()
			if now <= reached {
				t.Fatalf("waited %s in vain: %s", patience, what)
			}
			reached, deadline = now, time.After(patience)
		case <-time.After(max(wait, time.Since(asked))):
		}
	}
}

// A result is the output of a program, and its exit status.
type result struct {
	stdout, stderr string
	status         int
}

// runTo runs a program to its end.
func runTo(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s did not end within %s\n%s%s", cmd, patience, &stdout, &stderr)
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ttydrain runs the binary to its end.
func ttydrain(t testing.TB, args ...string) result {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // otherwise the race detector delays the exit by a second
	return runTo(t, cmd)
}

// An output is what a running program has printed so far.
type output struct {
	mu   sync.Mutex // guards data
	data []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = append(o.data, b...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.data)
}

// len returns the length of the output so far.
func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.data)
}

// after returns the output after the first n bytes.
func (o *output) after(n int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.data[n:])
}
