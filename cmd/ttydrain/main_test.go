package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/client/clienttest"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
)

// patience bounds every wait of these tests. It is long, since nothing is measured by it.
const patience = 3 * time.Minute

// nodes are the Elasticsearch nodes of this package's tests.
var nodes estest.Shared

// programs is where the binaries are that the tests run.
var programs struct {
	dir         string       // set by TestMain
	usual, fast builtProgram // fast looks for no races
	nats        builtProgram // the NATS server's own
	static      builtProgram // those of the images: its file is their folder
}

func TestMain(m *testing.M) {
	if sandbox.InitMain() {
		return
	}
	clienttest.HeedSignals()
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
	if len(os.Args) == 0 {
		// Never: it makes all of ttydrain a part of this binary too. go test knows nothing of the one
		// that the tests build, and would take results from its cache that are of other code.
		main()
	}
	return nodes.Main(m)
}

// A builtProgram is built when the first test wants it.
type builtProgram struct {
	once sync.Once
	file string // after once, as is err
	err  error
}

// program is the path of the binary, which looks for races when the tests do.
func program(t testing.TB) string {
	t.Helper()
	if underRace() {
		return programs.usual.build(t, "ttydrain-race", ".", "-race")
	}
	return fastProgram(t)
}

// fastProgram is the path of a binary that looks for no races, for tests that are large.
func fastProgram(t testing.TB) string {
	t.Helper()
	return programs.fast.build(t, "ttydrain", ".")
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// build builds a package in a folder of that name, and gives the path of the binary.
func (b *builtProgram) build(t testing.TB, name, source string, flags ...string) string {
	t.Helper()
	b.once.Do(func() {
		// In a folder of its own, so that it is called ttydrain.
		b.file = filepath.Join(programs.dir, name, "ttydrain")
		args := append([]string{"build", "-o", b.file}, flags...)
		if out, err := exec.Command("go", append(args, source)...).CombinedOutput(); err != nil {
			b.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.file
}

// need finds an outside program. Without it the test is skipped, or fails where that is not
// allowed.
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

// awaitWhile waits until something holds, for as long as there is progress, which grows. It asks
// less and less often, and no more than half of the time: an answer can be costly.
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

// A result is what a program printed, and its exit status.
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
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or one that looks for races ends a second late
	return runTo(t, cmd)
}

// output is what a running program has printed so far.
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

// len is how long what was printed so far is.
func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.data)
}

// after is what was printed after the first n bytes.
func (o *output) after(n int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.data[n:])
}
