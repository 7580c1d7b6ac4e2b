package model

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestModel checks each configuration of the models. A configuration with a fault must violate an
// assertion.
func TestModel(t *testing.T) {
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") != "" {
				t.Fatalf("%s is not installed: apt-get install spin gcc", program)
			}
			t.Skipf("SKIPPED: %s is not installed: apt-get install spin gcc", program)
		}
	}
	for _, c := range []struct{ name, model, switches, fault string }{
		{"crashes", "enrich", "ONE C=2 CRASH_E=1 CRASH_G=1 EXPIRE=0 LOSE=0", ""},
		{"lost messages", "enrich", "ONE C=2 CRASH_E=0 CRASH_G=1 EXPIRE=0 LOSE=1", ""},
		{"three chunks", "enrich", "ONE C=3 CRASH_E=0 CRASH_G=1 EXPIRE=0 LOSE=0", ""},
		{"two enrichers", "enrich", "PRESTORED C=2 CRASH_E=1 EXPIRE=1 LOSE=0", ""},
		{"two enrichers, lost answers", "enrich", "PRESTORED C=2 CRASH_E=1 EXPIRE=1 LOSE=1", ""},
		{"a lagging replica", "enrich", "STALE=2 PRESTORED C=2 CRASH_E=1 EXPIRE=1 LOSE=0", ""},
		{"forgotten message IDs", "enrich", "DEDUPE_FORGETS ONE C=2 CRASH_E=0 CRASH_G=0 EXPIRE=0 LOSE=1", ""},
		{"first chunk passed over", "enrich", "ONE C=2 CRASH_E=0 CRASH_G=0 EXPIRE=0 LOSE=1", "PASS_OVER"},
		{"last segment unknown", "enrich", "STALE=2 PRESTORED C=2 CRASH_E=1 EXPIRE=0 LOSE=0", "PASS_OVER"},
		{"gives up early", "enrich", "ONE C=3 CRASH_E=0 CRASH_G=0 EXPIRE=0 LOSE=1", "UNTIMELY"},
		{"no fence", "enrich", "PRESTORED C=2 CRASH_E=1 EXPIRE=1 LOSE=0", "NO_FENCE"},
		{"position of what was read", "enrich", "PRESTORED C=2 CRASH_E=0 EXPIRE=0 LOSE=0", "POSITION_READ"},

		{"crash", "route", "N=3 R=1 CRASH=1 EXPIRE=0 LOSE=1 CANCEL=1", ""},
		{"two workers", "route", "N=2 R=1 CRASH=0 EXPIRE=1 LOSE=1 CANCEL=1", ""},
		{"segments of two records", "route", "N=2 R=2 CRASH=1 EXPIRE=0 LOSE=1 CANCEL=1", ""},
		{"gaps, crash", "route", "GAPS FALSEGAP N=2 R=1 CRASH=1 EXPIRE=0 LOSE=0 CANCEL=0", ""},
		{"gaps, three segments", "route", "GAPS FALSEGAP SAMEOP N=3 R=1 CRASH=1 EXPIRE=0 LOSE=0 CANCEL=0", ""},
		{"gaps, two workers", "route", "GAPS SAMEOP N=3 R=1 CRASH=0 EXPIRE=1 LOSE=0 CANCEL=0", ""},
		{"unfenced notes", "route", "GAPS SAMEOP N=3 R=1 CRASH=0 EXPIRE=1 LOSE=0 CANCEL=0", "UNFENCED"},
		{"uncommitted gaps", "route", "GAPS FALSEGAP N=2 R=1 CRASH=1 EXPIRE=0 LOSE=0 CANCEL=0", "UNCOMMITTED"},
		{"position of what was read", "route", "N=3 R=1 CRASH=0 EXPIRE=0 LOSE=1 CANCEL=0", "PASS_READ"},
		{"one delivered too many", "route", "N=2 R=2 CRASH=0 EXPIRE=0 LOSE=0 CANCEL=1", "SPLIT_MORE"},
		{"operations shared by batches", "route", "N=3 R=1 CRASH=0 EXPIRE=0 LOSE=1 CANCEL=0", "SHARE_OP"},
	} {
		t.Run(strings.TrimSuffix(c.model+", "+c.name+", "+c.fault, ", "), func(t *testing.T) {
			optimize := "-O1"
			if c.fault != "" {
				optimize = "-O0" // the violation is found sooner than an optimizing compiler is done
			}
			report := check(t, c.model, optimize, strings.Fields(c.switches+" "+c.fault))
			m := regexp.MustCompile(`errors: (\d+)\s+(\d+) states, stored`).FindStringSubmatch(report)
			violated := strings.Contains(report, "assertion violated")
			switch {
			case m == nil || strings.Contains(report, "max search depth too small") || strings.Contains(report, "out of memory"):
				t.Fatalf("the check is not exhaustive:\n%s", report)
			case c.fault == "" && m[1] != "0":
				t.Errorf("the protocol is violated:\n%s", report)
			case c.fault != "" && !violated:
				t.Errorf("the fault is not found:\n%s", report)
			}
			t.Logf("%s states", m[2])
		})
	}
}

// check runs the exhaustive search of a model and returns spin's report.
func check(t *testing.T, model, optimize string, switches []string) string {
	t.Helper()
	source, err := filepath.Abs(model + ".pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, program, args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return string(out)
	}
	var defines []string
	for _, s := range switches {
		defines = append(defines, "-D"+s)
	}
	run("spin", append(defines, "-a", source)...)
	run("gcc", "-w", optimize, "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=4000", "-o", "pan", "pan.c")
	return run(filepath.Join(dir, "pan"), "-m200000")
}
