package estest

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A recorder is a test that notes how it was ended first, and goes on.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.end("failed") }
func (r *recorder) Skipf(string, ...any)  { r.end("skipped") }

func (r *recorder) end(how string) {
	if r.ended == "" {
		r.ended = how
	}
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(environmentURL, "")
	node, err := start(Options{})
	if node != nil || err == nil {
		t.Fatal("a node was started without programs")
	}
	for _, program := range []string{"java", "javac", "mvn", "unzip"} {
		if !strings.Contains(err.Error(), "no "+program) {
			t.Errorf("%q does not name %s", err, program)
		}
	}
	for _, test := range []struct {
		require string
		err     error
		want    string
	}{
		{"", err, "skipped"},
		{"0", err, "skipped"},
		{"1", err, "failed"},
		{"", errors.New("it did not start"), "failed"},
	} {
		t.Setenv(environmentRequire, test.require)
		var r recorder
		giveUp(&r, test.err)
		if r.ended != test.want {
			t.Errorf("with %s=%q and %v the test is %q, want %q", environmentRequire, test.require, test.err, r.ended, test.want)
		}
	}
}

// TestNode has a node that leaves nothing behind.
func TestNode(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a node of its own")
	}
	t.Setenv(environmentURL, "")
	node := Start(t, Options{})
	index := node.DataStream(t)
	for i, id := range []string{"b", "a"} {
		node.Do(t, "PUT", "/"+index+"/_doc/"+id, map[string]any{"sequence": 2 - i})
	}
	found := node.Search(t, index, nil)
	if len(found) != 2 || !strings.Contains(string(found[0]), `"sequence":1`) {
		t.Errorf("the node holds %s, want two documents in the order of their sequence", found)
	}
	if found := node.Search(t, index+"-other", nil); len(found) != 0 {
		t.Errorf("what is not there has the documents %s", found)
	}
	group := node.process.pid
	node.Stop()
	if _, err := os.Stat(node.folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the node's folder is still there: %v", err)
	}
	if err := syscall.Kill(-group, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the node's processes are still there: %v", err)
	}
}
