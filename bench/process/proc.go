package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc (USER_HZ), which is the same on all common
// architectures of Linux.
const ticksPerSecond = 100

// TreeCPUTime returns the CPU time of a process and its descendants, including those that have
// ended and were waited for.
func TreeCPUTime(root int) (time.Duration, error) {
	tree, err := treeTicks(root)
	var total int64
	for _, ticks := range tree {
		total += ticks
	}
	return time.Duration(total) * time.Second / ticksPerSecond, err
}

// treeTicks returns the CPU time in ticks of a process and its running descendants, by process ID.
// The time of a process includes that of its children that have ended and were waited for.
func treeTicks(root int) (tree map[int]int64, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	ticks := make(map[int]int64)
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …: the name can have spaces and parentheses (proc(5)).
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		_, rest, ok := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 15 {
			return nil, fmt.Errorf("parse %s: unexpected format", file)
		}
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			ticks[pid] += n
		}
	}
	if _, ok := ticks[root]; !ok {
		return nil, errors.New("the measured program has ended")
	}
	tree = make(map[int]int64)
	for left := []int{root}; len(left) > 0; {
		pid := left[len(left)-1]
		left = append(left[:len(left)-1], children[pid]...)
		tree[pid] = ticks[pid]
	}
	return tree, nil
}

// TreePeakMemory returns the sum of the peak resident memories, in bytes, of a process and its
// running descendants.
func TreePeakMemory(root int) (total int64, err error) {
	tree, err := treeTicks(root)
	if err != nil {
		return 0, err
	}
	for pid := range tree {
		now, err := MemoryOf(pid)
		if err != nil {
			return 0, err
		}
		total += now.Peak
	}
	return total, nil
}

// CPUTime returns the user and system time that this process has used.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
