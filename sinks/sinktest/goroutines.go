package sinktest

import (
	"bytes"
	"context"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// goroutines finds the goroutines that a sink started: those of its calls by a profiler label,
// which a goroutine has from the one that starts it; those of its constructor by the function that
// started them. Neither finds the drain's or another test's.
type goroutines struct {
	label   string
	creator string
}

const labelKey = "sinktest"

func watchGoroutines(sink sinks.Sink) *goroutines {
	kind := reflect.TypeOf(sink)
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	return &goroutines{
		label:   strconv.FormatInt(time.Now().UnixNano(), 36),
		creator: "created by " + kind.PkgPath() + ".",
	}
}

// do calls f; what f starts is watched.
func (g *goroutines) do(f func()) {
	pprof.Do(context.Background(), pprof.Labels(labelKey, g.label), func(context.Context) { f() })
}

// checkNone fails the test when a goroutine is still running after the time that an orderly end
// takes.
func (g *goroutines) checkNone(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := g.left()
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines that Close left:\n%s", left)
		}
		runtime.Gosched()
	}
}

// left describes the goroutines that are running.
func (g *goroutines) left() string {
	var profile bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&profile, 1)
	var found []string
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, strconv.Quote(labelKey)+":"+strconv.Quote(g.label)) {
			found = append(found, group)
		}
	}
	stacks := make([]byte, 1<<20)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) { // full: there may be more
		stacks = make([]byte, 2*len(stacks))
		n = runtime.Stack(stacks, true)
	}
	stacks = stacks[:n]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		_, creator, ok := strings.Cut(stack, g.creator)
		if ok && !strings.Contains(creator, "_test.go:") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
