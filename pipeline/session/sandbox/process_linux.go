package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// process is a running session.
type process struct {
	runtime *Runtime
	name    string
	init    *os.Process
	// namespaces: killing the init kills everything. Otherwise the init has to do it.
	namespaces bool
	conn       *net.UnixConn
	events     *eventReader
	group      *cgroup // nil for none
	scratch    string  // "" for none
	ownUser    int     // 0 for none

	stdin          io.WriteCloser
	stdout, stderr *output
	terminal       *os.File // nil for none; also used by stdout
	killed         atomic.Bool

	mu      sync.Mutex // guards writing to conn, and secrets
	root    string     // the session's root folder, "" for the host's
	secrets secrets    // hidden, or requested to be hidden
}

var _ session.Process = (*process)(nil)

// launch starts an init, which sets up the session and starts the command, and returns when the
// command is running. For a probe, it also returns the features that could not be enabled.
func (r *Runtime) launch(ctx context.Context, s *setup) (_ *process, lacks map[Feature]string, err error) {
	p := &process{runtime: r, name: s.Name, namespaces: s.Namespaces}
	if !s.Probe {
		p.ownUser = s.OwnUser
	}
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if r.cgroups != nil {
		if p.group, err = r.cgroups.create(s.Name, s.groupLimits); err != nil {
			return nil, nil, err
		}
	}
	if !s.Namespaces {
		s.Scratch = filepath.Join(r.scratch, "session-"+s.Name)
		p.scratch = s.Scratch
		owner, err := s.account()
		if err != nil {
			return nil, nil, err
		}
		for _, dir := range []string{s.Scratch, filepath.Join(s.Scratch, "home"), filepath.Join(s.Scratch, "tmp")} {
			err := os.Mkdir(dir, 0o700)
			if err == nil && owner.UID != os.Getuid() {
				err = os.Chown(dir, owner.UID, owner.GID)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("making the session's folders: %w", errnoText(err))
			}
		}
	}
	if err := p.startInit(s); err != nil {
		return nil, nil, err
	}
	if p.group != nil {
		// The init is waiting for its setup, so the command is not running yet.
		if err := p.group.add(p.init.Pid); err != nil {
			return nil, nil, err
		}
	}

	stop := context.AfterFunc(ctx, p.Kill)
	e, err := p.exchange(s)
	if !stop() {
		p.Kill()
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case e.Kind == eventFailed && e.Refusal:
		return nil, nil, &session.Refusal{Message: e.Message}
	case e.Kind == eventFailed:
		return nil, nil, errors.New(e.Message)
	case e.Kind != eventStarted:
		return nil, nil, fmt.Errorf("the session's init sent an unexpected event (%d)", e.Kind)
	}
	if s.Interactive && !s.Probe {
		fd := p.events.fd
		if p.events.fd = -1; fd < 0 {
			return nil, nil, errors.New("the session's init sent no terminal")
		}
		if p.terminal, err = pollable(fd, "terminal"); err != nil {
			return nil, nil, err
		}
		p.stdin, p.stdout = terminalInput{p.terminal}, &output{p.terminal}
	}
	if e.Lacks == nil {
		e.Lacks = map[Feature]string{} // gob omits an empty map
	}
	return p, e.Lacks, nil
}

// exchange sends the setup and returns the answer.
func (p *process) exchange(s *setup) (event, error) {
	if err := send(p.conn, s); err != nil {
		return event{}, fmt.Errorf("sending the setup to the session's init: %w", err)
	}
	e, err := p.events.next()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		state, err := p.init.Wait()
		if err != nil {
			return e, fmt.Errorf("waiting for the session's init, which ended before the session had started: %w", err)
		}
		return e, fmt.Errorf("the session's init ended before the session had started: %v", state)
	}
	if err != nil {
		return e, fmt.Errorf("waiting for the session's init to start the command: %w", err)
	}
	return e, nil
}

// startInit starts this program as an init, with the pipes of a session without a terminal.
func (p *process) startInit(s *setup) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("opening %s: %w", os.DevNull, err)
	}
	defer null.Close()
	conn, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	p.conn, p.events = conn, newEventReader(conn)

	// The init inherits the gateway's standard error, so that its crashes are visible.
	files := []*os.File{null, null, os.Stderr, theirs}
	if !s.Interactive {
		var command [3]*os.File
		defer func() {
			for _, f := range command {
				if f != nil {
					f.Close()
				}
			}
		}()
		var stdin, stdout, stderr *os.File
		if command[0], stdin, err = pipe(true); err != nil {
			return err
		}
		p.stdin = stdin
		if command[1], stdout, err = pipe(false); err != nil {
			return err
		}
		p.stdout = &output{stdout}
		if command[2], stderr, err = pipe(false); err != nil {
			return err
		}
		p.stderr = &output{stderr}
		files = append(files, command[:]...)
	}
	p.init, err = os.StartProcess("/proc/self/exe", []string{hiddenName, initArgument}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1", "GOGC=20"}, // the init is small and idle
		Files: files,
		Sys:   attributes(s),
	})
	if err != nil {
		return fmt.Errorf("starting the session's init: %w", errnoText(err))
	}
	return nil
}

// mappedUsers is the number of users and groups that a user namespace of root maps: those of a
// host.
const mappedUsers = 1 << 16

// attributes returns the process attributes for a session's namespaces.
func attributes(s *setup) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true} // detached from the gateway's terminal
	if !s.Namespaces {
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
	if !s.UserNamespace {
		return a
	}
	a.Cloneflags |= syscall.CLONE_NEWUSER
	uid, gid := s.Gateway.UID, s.Gateway.GID
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	if !s.OneUser {
		a.UidMappings = []syscall.SysProcIDMap{{Size: mappedUsers}}
		if low := max(s.IDs.Low, mappedUsers); s.IDs.High >= low {
			a.UidMappings = append(a.UidMappings, syscall.SysProcIDMap{ContainerID: low, HostID: low, Size: s.IDs.High - low + 1})
		}
		a.GidMappings, a.GidMappingsEnableSetgroups = a.UidMappings, true
	}
	if uid != 0 {
		// Users other than root lose all capabilities when they execute a program. These are needed
		// for the mounts, for the loopback interface, and for dropping all others.
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
	}
	return a
}

// pipe creates a pipe. The command's end is blocking, as programs expect; the gateway's end, which
// is the writing one if write is set, is non-blocking for Go's poller.
func pipe(write bool) (command, ours *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	mine, theirs := fds[0], fds[1]
	if write {
		mine, theirs = fds[1], fds[0]
	}
	if ours, err = pollable(mine, "pipe"); err != nil {
		unix.Close(theirs)
		return nil, nil, err
	}
	return os.NewFile(uintptr(theirs), "pipe"), ours, nil
}

// pollable returns a non-blocking file for a descriptor, which it takes over.
func pollable(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making a %s not block: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// output reads a pipe or a terminal, and closes it at the end.
type output struct{ f *os.File }

func (o *output) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if err != nil {
		o.f.Close()
		// EIO is the end of a terminal: its other side is closed, and all output has been read.
		if errors.Is(err, unix.EIO) || errors.Is(err, os.ErrClosed) {
			err = io.EOF
		}
	}
	return n, err
}

// terminalInput writes to a terminal, which output closes.
type terminalInput struct{ f *os.File }

func (t terminalInput) Write(p []byte) (int, error) { return t.f.Write(p) }
func (t terminalInput) Close() error                { return nil }

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.stdout }

func (p *process) Stderr() io.Reader {
	if p.stderr == nil {
		return nil
	}
	return p.stderr
}

func (p *process) Resize(size session.Size) error {
	if p.terminal == nil {
		return errors.New("changing the terminal's size: the session has no terminal")
	}
	raw, err := p.terminal.SyscallConn() // Fd would make it blocking
	if err != nil {
		return fmt.Errorf("changing the terminal's size: %w", err)
	}
	if raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, winsize(size)) }) != nil {
		return nil // it is closed: the session has ended
	}
	if err != nil {
		return fmt.Errorf("changing the terminal's size: %w", err)
	}
	return nil
}

// CloseOutput closes the pipe of standard output, or hangs up the terminal by closing it.
func (p *process) CloseOutput() error {
	if err := p.stdout.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("closing the session's output: %w", err)
	}
	if p.terminal == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := send(p.conn, order{HangUp: true})
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) { // it has ended
		return fmt.Errorf("hanging up the session's terminal: %w", err)
	}
	return nil
}

// Signal signals the command's process group, which without job control includes everything that
// the command started; with a terminal, its foreground process group.
func (p *process) Signal(name string) error {
	number := unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG"))
	if number == 0 {
		return fmt.Errorf("sending a signal: there is none called %q", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := send(p.conn, order{Signal: int(number)})
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) { // it has ended
		return fmt.Errorf("sending signal %s: %w", name, err)
	}
	return nil
}

// conceal makes the init hide the current private files.
func (p *process) conceal() {
	s, err := p.runtime.secretsIn(p.root)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if reflect.DeepEqual(s, p.secrets) {
			return
		}
		p.secrets = s
		err = send(p.conn, order{Hide: &s})
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) { // it has ended
		p.notHidden(err.Error())
	}
}

// notHidden reports that a session may see private files that were moved since its start.
func (p *process) notHidden(reason string) {
	p.runtime.log.Error("running session may see private files of the gateway that were moved or added: end it",
		"session", p.name, "error", reason)
}

func (p *process) Kill() {
	p.killed.Store(true)
	if p.namespaces {
		p.init.Kill() // the kernel kills the rest; the only error is that it has ended
		return
	}
	p.conn.CloseWrite()         // makes the init kill everything
	p.init.Signal(unix.SIGCONT) // in case the session has stopped its init
}

func (p *process) Wait() (session.Exit, error) {
	e, eventErr := p.events.next()
	for eventErr == nil && e.Kind == eventNotHidden {
		p.notHidden(e.Message)
		e, eventErr = p.events.next()
	}
	state, err := p.init.Wait()
	p.release()
	if err != nil {
		return session.Exit{}, fmt.Errorf("waiting for session %s: %w", p.name, err)
	}
	if eventErr == nil && e.Kind == eventExit {
		return exitOf(syscall.WaitStatus(e.Status)), nil
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	if p.killed.Load() || status.Signaled() {
		// By Kill, or by the kernel for lack of memory.
		return session.Exit{Status: 128 + int(unix.SIGKILL), Signal: "KILL"}, nil
	}
	return session.Exit{}, fmt.Errorf("waiting for session %s: its init ended (%v) without reporting the command's status", p.name, state)
}

// exitOf converts the command's wait status.
func exitOf(status syscall.WaitStatus) session.Exit {
	if !status.Signaled() {
		return session.Exit{Status: status.ExitStatus()}
	}
	s := status.Signal()
	name := strings.TrimPrefix(unix.SignalName(s), "SIG")
	if name == "" {
		name = fmt.Sprintf("RT%d", int(s)) // a real-time signal, which has no name of its own
	}
	return session.Exit{Status: 128 + int(s), Signal: name, CoreDumped: status.CoreDump()}
}

// release releases the resources of a session that has ended, except for output that has not been
// read yet.
func (p *process) release() {
	p.runtime.mu.Lock()
	delete(p.runtime.running, p)
	p.runtime.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
	}
	if p.events != nil && p.events.fd >= 0 {
		unix.Close(p.events.fd)
		p.events.fd = -1
	}
	if p.stdin != nil {
		p.stdin.Close()
	}
	if p.group != nil {
		if err := p.group.remove(); err != nil {
			p.runtime.log.Warn("control group of session not removed, retrying at the next start", "session", p.name, "error", err)
		}
	}
	if p.ownUser != 0 {
		// The end of a PID namespace ends all of its processes.
		p.runtime.users.give(p.ownUser, !p.namespaces)
	}
	if p.scratch != "" {
		if err := removeTree(p.scratch); err != nil {
			p.runtime.log.Warn("scratch folder of session not removed, retrying at the next start", "session", p.name, "error", err)
		}
	}
}

// abort ends a session that did not start.
func (p *process) abort() {
	if p.init != nil {
		p.Kill()
		p.init.Wait()
	}
	p.release()
	for _, o := range []*output{p.stdout, p.stderr} {
		if o != nil {
			o.f.Close()
		}
	}
}
