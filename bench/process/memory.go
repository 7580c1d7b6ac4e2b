package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the resident memory of a process, in bytes.
type Memory struct{ Resident, Peak int64 }

// MemoryOf returns the memory of a process (proc_pid_status(5)).
func MemoryOf(pid int) (m Memory, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return m, err
	}
	found := 0
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &m.Resident, "VmHWM": &m.Peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/%d/status: %s: %w", pid, name, err)
		}
		*into = kib << 10
		found++
	}
	if found < 2 {
		return m, fmt.Errorf("/proc/%d/status has no VmRSS or VmHWM", pid)
	}
	return m, nil
}

// ResetPeak resets the peak of this process's memory to its current memory
// (proc_pid_clear_refs(5)).
func ResetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// A Footprint is the memory of an SSH server, in KiB: the resident set of its first process, and
// the proportional sets of its other processes except for the sessions' commands.
type Footprint struct{ Server, Others int64 }

// FootprintOf returns the footprint of the server with the process root.
func FootprintOf(root int) (m Footprint, err error) {
	first, err := MemoryOf(root)
	if err != nil {
		return m, err
	}
	m.Server = first.Resident >> 10
	tree, err := treeTicks(root)
	if err != nil {
		return m, err
	}
	delete(tree, root)
	for pid := range tree {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(name)) == "cat" {
			continue // it has ended, or is a session's command
		}
		n, err := proportional(pid)
		if os.IsPermission(err) {
			return m, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		if err == nil {
			m.Others += n
		}
	}
	return m, nil
}

// proportional returns the proportional set size of a process in KiB (proc_pid_smaps(5)).
func proportional(pid int) (int64, error) {
	file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no Pss", file)
}
