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

// The init's descriptors. Those of the command are there without a terminal only.
const (
	controlFD = 3
	stdinFD   = 4
	stdoutFD  = 5
	stderrFD  = 6
)

// InitMain must be the first thing that a program's main function calls, and TestMain's in tests:
// if this process was started by a [Runtime] to be a session's init, it does that and never
// returns. Otherwise it returns false at once.
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
	// ending is set once every process is to be killed (without namespaces: with them, the init
	// exits).
	ending atomic.Bool
}

func initMain() {
	// What is set for a thread, such as capabilities, has to be in the thread that starts the command.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 1)
	// Nothing reads the channel, and nothing has to. This replaces dispositions that the gateway
	// inherited and the command would too (nohup), and keeps the session from ending its init with a
	// signal.
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
		if s.OwnUser == 0 {
			return nil
		}
		return p.try(OwnUser, func() error { return becomeUser(s.OwnUser) })
	}
	return p.startCommand(a, files)
}

// becomeUser changes the user of this thread for good.
func becomeUser(uid int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	if errno != 0 {
		return fmt.Errorf("becoming user %d: %w", uid, errno)
	}
	return nil
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

// try does what a feature needs, if the session is to have it. A probe notes what fails, and goes
// on.
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

// ownNetwork gives this thread, and what it starts, a network with nothing but a loopback
// interface.
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
		if o.HangUp && p.master >= 0 {
			unix.Close(p.master)
			p.master = -1
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
