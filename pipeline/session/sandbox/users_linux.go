package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// The kernel has many limits per user: processes, inotify instances, pending signals, message
// queues, locked memory, pipe buffers. Sessions that share a user can exhaust them for each other,
// so each session has a user ID of its own.

// sharedUsers is the folder of the lock file that all gateways on a host share.
const sharedUsers = "/run/ttydrain"

// users assigns user IDs to a runtime's sessions, each with the group ID of the same number. It is
// safe for concurrent use.
type users struct {
	UserRange
	// lock has a lock on the byte at each ID in use, which prevents other gateways from using it.
	// The kernel releases all of them when this process ends.
	lock *os.File

	mu    sync.Mutex
	next  int          // guarded by mu: the ID to try first
	inUse map[int]bool // guarded by mu
	// lingering holds IDs of ended sessions that processes may still have. guarded by mu
	lingering map[int]bool
}

// openUsers opens a range of user IDs. dir is for the lock file if the host's folder cannot be
// used.
func openUsers(r UserRange, dir string) (*users, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(sharedUsers, 0o700); err == nil || errors.Is(err, os.ErrExist) {
		var st unix.Stat_t
		if unix.Lstat(sharedUsers, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Getuid() && st.Mode&0o022 == 0 {
			dir = sharedUsers // writable only by this user
		}
	}
	name := filepath.Join(dir, "users.lock")
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the sessions' users: %w", err)
	}
	u := &users{UserRange: r, lock: lock, inUse: make(map[int]bool), lingering: make(map[int]bool)}
	// Do not start where the last gateway did: its sessions' files, and briefly its sessions, may
	// still exist.
	u.next = r.Low + rand.IntN(r.High-r.Low+1)
	for _, uid := range usersOfProcesses() {
		if uid >= r.Low && uid <= r.High {
			u.lingering[uid] = true
		}
	}
	return u, nil
}

// accountFiles returns the files with assigned user and group IDs: either an ID in the third field,
// or a range with start and length in the second and third (subuid(5)).
func accountFiles() map[string]bool {
	return map[string]bool{"/etc/passwd": false, "/etc/group": false, "/etc/subuid": true, "/etc/subgid": true}
}

// check returns an error if sessions cannot have the IDs of the range.
func (r UserRange) check() error {
	for file, ranges := range accountFiles() {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // there are no such IDs
		}
		if name := r.overlap(string(content), ranges); name != "" {
			return fmt.Errorf("%s has IDs of the range for %s", file, name)
		}
	}
	return nil
}

// overlap returns the name in the first line of an account file with IDs of the range, "" if there
// is none.
func (r UserRange) overlap(content string, ranges bool) string {
	for line := range strings.Lines(content) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 {
			continue
		}
		first, err := strconv.Atoi(fields[2])
		last := first
		if ranges && err == nil {
			first, err = strconv.Atoi(fields[1])
			last += first - 1
		}
		if err == nil && first <= r.High && last >= r.Low {
			return fields[0]
		}
	}
	return ""
}

// take returns a user ID that no process and no other session has.
func (u *users) take() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.lingering) > 0 {
		still := make(map[int]bool)
		for _, uid := range usersOfProcesses() {
			still[uid] = u.lingering[uid]
		}
		for uid := range u.lingering {
			if !still[uid] {
				delete(u.lingering, uid)
				u.unlock(uid)
			}
		}
	}
	size := u.High - u.Low + 1
	for i := range size {
		uid := u.Low + (u.next-u.Low+i)%size
		if u.inUse[uid] || u.lingering[uid] || !u.tryLock(uid) {
			continue
		}
		u.inUse[uid], u.next = true, uid+1
		return uid, nil
	}
	return 0, &session.Refusal{Message: fmt.Sprintf("All %d users that this gateway has for sessions are in use. "+
		"Try again when other sessions have ended, or widen sandbox.uid_range.", size)}
}

// give releases a user ID after the end of its session. It kills surviving processes; while there
// is one, no other session gets the ID.
func (u *users) give(uid int, survivors bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.inUse, uid)
	if survivors && killUser(uid) > 0 {
		u.lingering[uid] = true
		return
	}
	u.unlock(uid)
}

func (u *users) tryLock(uid int) bool {
	return unix.FcntlFlock(u.lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(uid), Len: 1}) == nil
}

func (u *users) unlock(uid int) {
	unix.FcntlFlock(u.lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: int64(uid), Len: 1})
}

func (u *users) close() { u.lock.Close() }

// eachProcess calls a function for each process on this host, with its effective user.
func eachProcess(do func(pid, uid int)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name(), &st) == nil {
			do(pid, int(st.Uid))
		}
	}
}

// usersOfProcesses returns the users of all processes.
func usersOfProcesses() []int {
	var all []int
	eachProcess(func(_, uid int) { all = append(all, uid) })
	return all
}

// killUser kills all processes of a user, and returns their number.
func killUser(uid int) int {
	found := 0
	eachProcess(func(pid, of int) {
		if of == uid {
			syscall.Kill(pid, syscall.SIGKILL)
			found++
		}
	})
	return found
}

// tasksOf returns the number of processes and threads of a user.
func tasksOf(uid int) int64 {
	var count int64
	eachProcess(func(pid, of int) {
		if of == uid {
			threads, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task") // it may have ended
			count += int64(len(threads))
		}
	})
	return count
}
