package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

func (p *initProcess) startCommand(a account, files []uintptr) error {
	s := &p.setup
	env := newVariables(s.Env)
	env.setMissing("HOME", a.Home)
	env.setMissing("USER", a.Name)
	env.setMissing("LOGNAME", a.Name)
	env.setMissing("SHELL", a.Shell)
	env.setMissing("PATH", defaultPath)
	if !s.Namespaces {
		env.setMissing("TMPDIR", filepath.Join(s.Scratch, "tmp"))
	}
	if s.Interactive {
		name := s.Terminal.Name
		if name == "" {
			name = "dumb"
		}
		env.setMissing("TERM", name)
	}
	dir := env.values["HOME"]
	if unix.Chdir(dir) != nil {
		if dir = a.Home; unix.Chdir(dir) != nil {
			dir = "/"
			if err := unix.Chdir(dir); err != nil {
				return fmt.Errorf("changing to the root folder: %w", err)
			}
		}
	}
	env.set("PWD", dir)

	refuse := func(err error) error {
		return commandRefusal(s.Command[0], env.values["PATH"], s.Root != "", err)
	}
	file, err := lookPath(s.Command[0], env.values["PATH"])
	if err != nil {
		return refuse(err)
	}
	unix.Umask(0o022)
	os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0) // not the gateway's; raising is always allowed
	// The gateway, or its parent, may have blocked some signals.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblocking signals: %w", err)
	}

	attr := &syscall.ProcAttr{
		Env:   env.list(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: s.Interactive, Ctty: 0},
	}
	if a.UID != os.Getuid() {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
	}
	if err := limitProcesses(s.ProcessLimit); err != nil {
		return err
	}
	pid, err := forkCommand(file, s.Command, attr, s.DataLimit)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return refuse(errInterpreter) // the file itself exists
	case err != nil:
		return refuse(err)
	}
	p.command.Store(int64(pid))

	if !s.Interactive {
		for _, fd := range files {
			unix.Close(int(fd))
		}
	}
	p.setup.Env = nil
	// Under memory pressure, the kernel should kill other processes of the session before this one,
	// whose death ends the session. This requires privileges, and is not essential.
	os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	debug.FreeOSMemory()
	return nil
}

// forkCommand starts the command and returns when it is executing, or an error if it cannot be
// executed. dataLimit is its RLIMIT_DATA, 0 for none.
func forkCommand(file string, argv []string, attr *syscall.ProcAttr, dataLimit int64) (int, error) {
	if dataLimit == 0 {
		return syscall.ForkExec(file, argv, attr)
	}
	// The limit must apply before the command runs. It cannot be set for the init, which may exceed
	// it already; so the command is traced until it stops at its first instruction.
	attr.Sys.Ptrace = true
	pid, err := syscall.ForkExec(file, argv, attr)
	if err == syscall.EPERM {
		// Tracing is forbidden here: the command runs without the limit for some microseconds.
		attr.Sys.Ptrace = false
		pid, err = syscall.ForkExec(file, argv, attr)
	}
	if err != nil {
		return 0, err
	}
	if attr.Sys.Ptrace {
		var status syscall.WaitStatus
		for err = syscall.EINTR; err == syscall.EINTR; {
			_, err = syscall.Wait4(pid, &status, 0, nil)
		}
		if err != nil || !status.Stopped() {
			return 0, errors.New("the command was killed before it ran")
		}
	}
	limit := unix.Rlimit{Cur: uint64(dataLimit), Max: uint64(dataLimit)}
	err = withRealUser(attr.Sys.Credential, func() error { return unix.Prlimit(pid, unix.RLIMIT_DATA, &limit, nil) })
	if err == nil && attr.Sys.Ptrace {
		err = syscall.PtraceDetach(pid)
	}
	if err != nil {
		syscall.Kill(pid, syscall.SIGKILL)
		return 0, fmt.Errorf("limiting the command's memory: %w", err)
	}
	return pid, nil
}

// withRealUser calls do while this thread's real user and group are those of the credential, if
// there is one: this allows limiting their processes without CAP_SYS_RESOURCE. Other permissions
// depend on the effective user.
func withRealUser(c *syscall.Credential, do func() error) error {
	if c == nil {
		return do()
	}
	const keep = ^uintptr(0)
	set := func(uid, gid uintptr) error {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESGID, gid, keep, keep); errno != 0 {
			return errno
		}
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, keep, keep); errno != 0 {
			return errno
		}
		return nil
	}
	uid, gid := uintptr(syscall.Getuid()), uintptr(syscall.Getgid())
	if err := set(uintptr(c.Uid), uintptr(c.Gid)); err != nil {
		return err
	}
	return errors.Join(do(), set(uid, gid))
}
