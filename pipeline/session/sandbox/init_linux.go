package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

const (
	hiddenName   = "ttydrain:" // as the program's name, which nobody types
	initArgument = "session-init"
)

// The init's descriptors. Those of the command are there without a terminal only.
const (
	controlFD = 3
	stdinFD   = 4
	stdoutFD  = 5
	stderrFD  = 6
)

// InitMain must be the first thing that a program's main function calls, and TestMain's in tests: if
// this process was started by a [Runtime] to be a session's init, it does that and never returns.
// Otherwise it returns false at once.
func InitMain() bool {
	if len(os.Args) != 2 || os.Args[0] != hiddenName || os.Args[1] != initArgument {
		return false
	}
	initMain()
	return true // not reached
}

// initProcess is the init of a session.
type initProcess struct {
	setup  setup
	orders *net.UnixConn
	events *eventWriter

	master, slave int // the terminal, -1 without one
	// lacks are the features that a probe could not have, and why.
	lacks map[Feature]string
	// command is the command's process ID, 0 before it has started.
	command atomic.Int64
	hider   *hider // used before the command starts, and then by follow
	// ending is set once every process is to be killed (without namespaces: with them, the init exits).
	ending atomic.Bool
}

func initMain() {
	// What is set for a thread, such as capabilities, has to be in the thread that starts the command.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 1)
	// Nothing reads the channel, and nothing has to. This replaces dispositions that the gateway inherited
	// and the command would too (nohup), and keeps the session from ending its init with a signal.
	signal.Notify(signals)
	closeForeign()

	conn, err := unixConn(controlFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ttydrain: session init:", err)
		syscall.Exit(2)
	}
	p := &initProcess{orders: conn, events: newEventWriter(conn), master: -1, slave: -1, lacks: make(map[Feature]string)}
	if err := receive(p.orders, &p.setup); err != nil {
		syscall.Exit(1) // the gateway has gone or thought better of it
	}
	p.hider = newHider(&p.setup)
	if err := p.start(); err != nil {
		e := event{Kind: eventFailed, Message: err.Error()}
		var refusal *session.Refusal
		if errors.As(err, &refusal) {
			e.Message, e.Refusal = refusal.Message, true
		}
		p.events.send(e, -1)
		syscall.Exit(1)
	}
	if p.setup.Probe {
		p.events.send(event{Kind: eventStarted, Lacks: p.lacks}, -1)
		syscall.Exit(0)
	}
	if err := p.events.send(event{Kind: eventStarted}, p.master); err != nil {
		p.end()
	}
	go p.follow() // ends with the process
	p.reap()
}

// closeForeign closes what the gateway inherited without close-on-exec from whatever started it.
// Go's own descriptors all have that.
func closeForeign() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		unix.CloseRange(controlFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < controlFD {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		if fd <= stderrFD {
			unix.CloseOnExec(fd)
		} else {
			unix.Close(fd)
		}
	}
}

// start sets everything up and starts the command.
func (p *initProcess) start() error {
	s := &p.setup
	ptmx := "/dev/ptmx"
	var a account
	var err error
	if s.Namespaces {
		if a, err = p.isolate(); err != nil {
			return err
		}
		ptmx = "/dev/pts/ptmx"
	} else {
		if a, err = s.account(); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("becoming the one who reaps: %w", err)
		}
		a.Home = filepath.Join(s.Scratch, "home")
	}

	files := []uintptr{stdinFD, stdoutFD, stderrFD}
	if s.Interactive {
		if p.master, p.slave, err = openTerminal(ptmx, s.Terminal, a); err != nil {
			return err
		}
		// The slave stays open here: without any open slave the terminal would look finished to the
		// gateway while the command still runs, and may open /dev/tty again.
		files = []uintptr{uintptr(p.slave), uintptr(p.slave), uintptr(p.slave)}
	} else if a.UID != os.Getuid() {
		for _, fd := range files { // or nobody but the gateway could open /dev/stderr
			if err := unix.Fchown(int(fd), a.UID, -1); err != nil {
				return fmt.Errorf("giving the pipes to the session's user: %w", err)
			}
		}
	}
	if err := p.restrict(a); err != nil {
		return err
	}
	if s.Probe {
		return nil
	}
	return p.startCommand(a, files)
}

// isolate makes the session's host name, groups, network and files, and returns the account that it
// runs as, as these files have it.
func (p *initProcess) isolate() (account, error) {
	s := &p.setup
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return account{}, fmt.Errorf("setting the host name: %w", err)
	}
	err := p.try(CgroupNamespace, func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) })
	if err != nil {
		return account{}, err
	}
	if s.NoNetwork {
		if err := p.try(NetworkNamespace, ownNetwork); err != nil {
			return account{}, err
		}
	}
	return p.mountAll()
}

// restrict takes from what this thread will start, as the account, what a session must not have.
func (p *initProcess) restrict(a account) error {
	s := &p.setup
	err := p.try(DroppedCapabilities, func() error { return dropPrivileges(a.UID) })
	if err != nil {
		return err
	}
	if err := p.try(NoNewPrivileges, noNewPrivileges); err != nil {
		return err
	}
	err = p.try(Landlock, func() error {
		var writable []string // with namespaces, mounts are for that
		if !s.Namespaces && !s.Writable {
			writable = []string{filepath.Join(s.Scratch, "home"), filepath.Join(s.Scratch, "tmp"), "/dev/null", "/dev/zero", "/dev/full",
				"/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/shm",
				"/proc/self/oom_score_adj"} // the init's own
		}
		return restrictThread(writable)
	})
	if err != nil {
		return err
	}
	return p.try(Seccomp, func() error { return installFilter(s.Filter) })
}

// try does what a feature needs, if the session is to have it. A probe notes what fails, and goes on.
func (p *initProcess) try(f Feature, do func() error) error {
	if !p.setup.Probe && !slices.Contains(p.setup.Features, f) {
		return nil
	}
	err := do()
	if err != nil && p.setup.Probe {
		p.lacks[f] = err.Error()
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s, which this session must have: %w", f, err)
	}
	return nil
}

// ownNetwork gives this thread, and what it starts, a network with nothing but a loopback interface.
func ownNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("naming the loopback interface: %w", err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("starting the loopback interface: %w", err)
	}
	return nil
}

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
	// The gateway, or what started it, may have blocked some signals.
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
	pid, err := forkCommand(file, s.Command, attr, s.DataLimit)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return refuse(errInterpreter) // the file itself was there
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
	// The session has its own processes killed for its memory before this one, without which it ends.
	// It needs privilege, and is no more than useful.
	os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	debug.FreeOSMemory()
	return nil
}

// forkCommand starts the command, and returns when it is executing, or why it could not be executed.
// dataLimit is its RLIMIT_DATA, 0 for none.
func forkCommand(file string, argv []string, attr *syscall.ProcAttr, dataLimit int64) (int, error) {
	if dataLimit == 0 {
		return syscall.ForkExec(file, argv, attr)
	}
	// The limit must be there before the command runs. It cannot be set in the init, which could be
	// above it already; so the command is traced for as long as it takes to stop where it begins.
	attr.Sys.Ptrace = true
	pid, err := syscall.ForkExec(file, argv, attr)
	if err == syscall.EPERM {
		// Tracing is forbidden here. Then a command has some microseconds without the limit.
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
			return 0, errors.New("it was killed before it ran")
		}
	}
	limit := unix.Rlimit{Cur: uint64(dataLimit), Max: uint64(dataLimit)}
	err = withRealUser(attr.Sys.Credential, func() error { return unix.Prlimit(pid, unix.RLIMIT_DATA, &limit, nil) })
	if err == nil && attr.Sys.Ptrace {
		err = syscall.PtraceDetach(pid)
	}
	if err != nil {
		syscall.Kill(pid, syscall.SIGKILL)
		return 0, fmt.Errorf("its memory could not be limited: %w", err)
	}
	return pid, nil
}

// withRealUser does something while this thread's real user and group are those of the credential, where
// there is one: then their processes can be limited without CAP_SYS_RESOURCE. What the thread may do
// otherwise hangs on its effective user.
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

// follow obeys the gateway's orders until there are none any more.
func (p *initProcess) follow() {
	for {
		var o order
		if err := receive(p.orders, &o); err != nil {
			p.end()
			return
		}
		if o.Hide != nil {
			if err := p.hider.hide(*o.Hide); err != nil {
				p.events.send(event{Kind: eventNotHidden, Message: err.Error()}, -1)
			}
		}
		if o.Signal != 0 {
			p.signal(syscall.Signal(o.Signal))
		}
	}
}

// signal signals the terminal's foreground process group, otherwise the command's.
func (p *initProcess) signal(s syscall.Signal) {
	group := int(p.command.Load())
	if p.master >= 0 {
		if pgrp, err := unix.IoctlGetInt(p.master, unix.TIOCGPGRP); err == nil && pgrp > 0 {
			group = pgrp
		}
	}
	if !p.ending.Load() {
		syscall.Kill(-group, s)
	}
}

// end ends the session because the gateway says so or is gone.
func (p *initProcess) end() {
	if p.setup.Namespaces {
		syscall.Exit(1) // and the kernel kills the rest
	}
	p.ending.Store(true)
	killDescendants()
}

// reap reaps children until the session is over, tells how the command ended, and exits.
func (p *initProcess) reap() {
	var status syscall.WaitStatus // the command's
	ended := false
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD: nothing is left
			if ended {
				p.events.send(event{Kind: eventExit, Status: uint32(status)}, -1)
			}
			syscall.Exit(0)
		}
		if int64(pid) == p.command.Load() {
			ended, status = true, s
			if p.setup.Namespaces {
				p.events.send(event{Kind: eventExit, Status: uint32(status)}, -1)
				syscall.Exit(0) // and the kernel kills the rest
			}
			p.ending.Store(true)
		}
		// What was started while killDescendants looked becomes this process's child when the parent,
		// which was killed, is gone: that is now.
		if p.ending.Load() {
			killDescendants()
		}
	}
}
