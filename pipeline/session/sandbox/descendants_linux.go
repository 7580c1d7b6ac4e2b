package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// killDescendants kills all descendants of this process that /proc lists now. Processes that they
// start meanwhile are killed by the next call.
func killDescendants() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	children := make(map[int][]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	for next := children[os.Getpid()]; len(next) > 0; {
		pid := next[0]
		next = append(next[1:], children[pid]...)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// parentOf returns the parent's process ID, from proc_pid_stat(5): the second field after the name,
// which is in parentheses and may contain any characters.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
