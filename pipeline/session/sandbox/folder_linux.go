package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// open creates the runtime's folder in dir, after removing those of dead runtimes.
func (r *Runtime) open(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the sandbox's folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the sandbox's folder: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("looking at the sandbox's folder %s: %w", dir, err)
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("the sandbox's folder %s can be written by others: make it yours alone (chmod 700), or name another", dir)
	}
	all, err := lockFile(filepath.Join(dir, "lock"), true)
	if err != nil {
		return err
	}
	defer all.Close() // releases the lock: others now recognize this runtime by its own lock
	r.sweep(dir)
	r.dir = filepath.Join(dir, "run-"+strings.ToLower(rand.Text()[:10]))
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return fmt.Errorf("making the sandbox's folder: %w", err)
	}
	if r.lock, err = lockFile(filepath.Join(r.dir, "lock"), true); err != nil {
		return err
	}
	r.scratch = r.dir
	if os.Getuid() == 0 {
		// Other users cannot access a folder of root's.
		r.scratch = scratchBeside(r.dir)
		if err := os.Mkdir(r.scratch, 0o711); err != nil {
			return fmt.Errorf("making the sessions' folder: %w", err)
		}
	}
	return nil
}

// scratchBeside returns the folder for sessions' folders of a runtime whose own folder the
// sessions' users cannot access.
func scratchBeside(run string) string {
	return filepath.Join(os.TempDir(), "ttydrain-"+filepath.Base(run))
}

// lockFile locks a file until it is closed. It creates the file if necessary.
func lockFile(name string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox's lock: %w", err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return f, nil
}

// sweep removes the remains of dead runtimes in dir and elsewhere. Their sessions died with them.
func (r *Runtime) sweep(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "run-*")) // the pattern is valid
	for _, run := range old {
		lock, err := lockFile(filepath.Join(run, "lock"), false)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // alive
		}
		if err == nil {
			err = removeRun(run)
			lock.Close()
		}
		if err != nil {
			r.log.Warn("remains of an earlier sandbox not removed, retrying at the next start", "folder", run, "error", err)
		}
	}
}

// removeRun removes a runtime's folder and the control groups that it names.
func removeRun(run string) error {
	groups, _ := os.ReadFile(filepath.Join(run, "cgroup")) // the file may not exist yet
	for group := range strings.Lines(string(groups)) {
		if group = strings.TrimSuffix(group, "\n"); strings.HasPrefix(filepath.Base(group), "ttydrain-") {
			if err := removeCgroups(group); err != nil {
				return err
			}
		}
	}
	if err := removeTree(scratchBeside(run)); err != nil {
		return err
	}
	return removeTree(run)
}

// removeTree is os.RemoveAll, but also removes folders whose permissions a session has revoked.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && err == nil {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
