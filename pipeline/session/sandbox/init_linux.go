package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
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

// Descriptors of the init. Those of the command only exist without a terminal.
const (
	controlFD = 3
	stdinFD   = 4
	stdoutFD  = 5
	stderrFD  = 6
)

// InitMain must be called first in a program's main function, and in TestMain of tests. If a
// [Runtime] started this process as a session's init, InitMain runs as init and never returns.
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
	// lacks holds the features that a probe could not enable, and why.
	lacks map[Feature]string
	// command is the command's process ID, 0 before it has started.
	command atomic.Int64
	hider   *hider // used before the command starts, and then by follow
	// ending is set when every process has to be killed. It is only used without namespaces:
	// otherwise the init just exits.
	ending atomic.Bool
}

func initMain() {
	// Settings of a thread, such as capabilities, must be made in the thread that starts the
	// command.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 1)
	// The channel is never read. Notify replaces signal dispositions that were inherited from the
	// gateway and that the command would inherit as well (nohup), and prevents the session from
	// ending its init with a signal.
	signal.Notify(signals)
	closeForeign()

	conn, err := unixConn(controlFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ttydrain: session init:", err)
		syscall.Exit(2)
	}
	p := &initProcess{orders: conn, events: newEventWriter(conn), master: -1, slave: -1, lacks: make(map[Feature]string)}
	if err := receive(p.orders, &p.setup); err != nil {
		syscall.Exit(1) // the gateway has ended or cancelled the start
	}
	if !p.setup.Probe {
		startThreads(initThreads)
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

// closeForeign closes descriptors without close-on-exec that the gateway inherited from its parent.
// Go sets close-on-exec on all of its own.
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

// start sets up the session and starts the command.
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
			return fmt.Errorf("becoming the reaper of descendants: %w", err)
		}
		a.Home = filepath.Join(s.Scratch, "home")
	}

	files := []uintptr{stdinFD, stdoutFD, stderrFD}
	if s.Interactive {
		if p.master, p.slave, err = openTerminal(ptmx, s.Terminal, a); err != nil {
			return err
		}
		// The slave stays open here: without any open slave, the gateway would see the end of the
		// terminal although the command is still running and may open /dev/tty again.
		files = []uintptr{uintptr(p.slave), uintptr(p.slave), uintptr(p.slave)}
	} else if a.UID != os.Getuid() {
		for _, fd := range files { // otherwise only the gateway could open /dev/stderr
			if err := unix.Fchown(int(fd), a.UID, -1); err != nil {
				return fmt.Errorf("giving the pipes to the session's user: %w", err)
			}
		}
	}
	if err := p.restrict(a); err != nil {
		return err
	}
	if s.Probe {
		if s.OwnUser == 0 {
			return nil
		}
		return p.try(OwnUser, func() error { return becomeUser(s.OwnUser) })
	}
	return p.startCommand(a, files)
}

// becomeUser changes the user of this thread permanently.
func becomeUser(uid int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	if errno != 0 {
		return fmt.Errorf("becoming user %d: %w", uid, errno)
	}
	return nil
}

// isolate sets up the session's host name, control groups, network and files, and returns the
// account that it runs as, according to these files.
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

// restrict drops the privileges that a session must not have, for everything that this thread
// starts as the account.
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
		var writable []string // with namespaces, mounts do this
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

// try enables a feature if the session requires it. A probe records failures and continues.
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

// ownNetwork moves this thread, and what it starts, to a network with only a loopback interface.
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

// follow executes the gateway's orders until the connection ends.
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
		if o.HangUp && p.master >= 0 {
			unix.Close(p.master)
			p.master = -1
		}
		if o.Signal != 0 {
			p.signal(syscall.Signal(o.Signal))
		}
	}
}

// signal signals the terminal's foreground process group, or else the command's process group.
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

// end ends the session, because the gateway requests it or has ended.
func (p *initProcess) end() {
	if p.setup.Namespaces {
		syscall.Exit(1) // the kernel kills the rest
	}
	p.ending.Store(true)
	killDescendants()
}

// reap reaps children until the session has ended, reports how the command ended, and exits.
func (p *initProcess) reap() {
	var status syscall.WaitStatus // the command's
	ended := false
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD: no process remains
			if ended {
				p.events.send(event{Kind: eventExit, Status: uint32(status)}, -1)
			}
			syscall.Exit(0)
		}
		if int64(pid) == p.command.Load() {
			ended, status = true, s
			if p.setup.Namespaces {
				p.events.send(event{Kind: eventExit, Status: uint32(status)}, -1)
				syscall.Exit(0) // the kernel kills the rest
			}
			p.ending.Store(true)
		}
		// Processes started during killDescendants become children of this process when their
		// killed parent has ended, which is now.
		if p.ending.Load() {
			killDescendants()
		}
	}
}
