package sandbox

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// initTasks is the number of threads of a session's init that count as the session's.
const initTasks = 16

// initThreads is the number of threads that the init starts before the command: more than it ever
// needs at a time, and with those that it has by then fewer than initTasks.
const initThreads = 6

// startThreads starts threads that stay and are used whenever the Go runtime needs one more. Once
// the command runs, it can take all the processes and threads that its session may have: then no
// thread can be started, and the Go runtime ends a program that needs one.
func startThreads(n int) {
	var started, ended sync.WaitGroup
	unlock := make(chan struct{})
	started.Add(n)
	for range n {
		ended.Go(func() { // ends when unlock is closed
			runtime.LockOSThread() // a goroutine that waits keeps its thread from the others
			defer runtime.UnlockOSThread()
			started.Done()
			<-unlock
		})
	}
	started.Wait()
	close(unlock)
	ended.Wait()
}

// processLimit returns the limits for at most pids processes and threads of a session, 0 for any
// number: that of its control group, and RLIMIT_NPROC, 0 for none. The kernel counts the latter by
// user, in one user namespace, and does not apply it to root.
func (r *Runtime) processLimit(s *setup, pids int64) (group, resource int64) {
	if pids == 0 {
		return 0, 0
	}
	group = pids + initTasks
	switch {
	case s.OwnUser != 0:
		return group, pids // the init runs as another user
	case s.UserNamespace && s.OneUser && r.countsByNamespace:
		return group, group
	case r.caps.Has(CgroupPids):
		return group, 0
	}
	a, err := s.account()
	if err != nil || a.UID == 0 {
		return group, 0
	}
	// The user's other processes count as well.
	return group, tasksOf(a.UID) + group
}

// countsByNamespace reports whether this kernel counts the processes of a user separately for each
// user namespace, as Linux does since 5.14.
func countsByNamespace() bool {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return false
	}
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 5 || major == 5 && minor >= 14
}

// limitProcesses sets RLIMIT_NPROC for this process and its children; 0 leaves it unchanged.
func limitProcesses(limit int64) error {
	if limit == 0 {
		return nil
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &now); err != nil {
		return fmt.Errorf("reading the limit of processes: %w", err)
	}
	value := min(uint64(limit), now.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("limiting processes: %w", err)
	}
	return nil
}
