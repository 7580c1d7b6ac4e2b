package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// A Runtime starts sessions on this host. It may be used by several goroutines at once.
type Runtime struct {
	log     *slog.Logger
	caps    Capabilities
	account account

	// dir is this runtime's own folder in Options.Dir; lock is locked as long as this process lives, so
	// that others can tell it from a dead one's.
	dir  string
	lock *os.File
	// cgroups is nil where memory is limited by resource limit.
	cgroups *cgroups
}

var _ session.Runtime = (*Runtime)(nil)

// probeTimeout is how long to wait for the trial session in New.
const probeTimeout = 30 * time.Second

// New finds out, by trying, what the host lets sessions have, and removes what runtimes of killed
// gateways left behind. The program must call [InitMain] first thing in its main function.
func New(o Options) (*Runtime, error) {
	return newRuntime(o, Capabilities{Namespaces: true, Memory: MemoryCgroup2})
}

// newRuntime is New with at most the capabilities given. A user namespace in them means that the
// others are tried only together with one.
func newRuntime(o Options, most Capabilities) (*Runtime, error) {
	r := &Runtime{log: o.Log, account: currentAccount()}
	if r.log == nil {
		r.log = slog.Default()
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(os.TempDir(), "ttydrain-sandbox-"+strconv.Itoa(os.Getuid()))
	}
	if err := r.open(o.Dir); err != nil {
		return nil, err
	}

	r.caps.Memory = MemoryResourceLimit
	if most.Memory != MemoryResourceLimit {
		name := "ttydrain-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(r.dir)
		if err := r.openCgroups(name); err != nil {
			r.caps.Missing = append(r.caps.Missing, fmt.Sprintf("no control group for memory: %v", oneLine(err)))
		}
	}
	if !most.Namespaces {
		return r, nil
	}
	failures := []string{}
	for _, user := range []bool{false, true} {
		if !user && (most.UserNamespace || os.Getuid() != 0) {
			continue
		}
		err := r.probe(user)
		if err == nil {
			r.caps.Namespaces, r.caps.UserNamespace = true, user
			return r, nil
		}
		failures = append(failures, oneLine(err))
	}
	r.caps.Missing = append(r.caps.Missing, "no namespaces: "+strings.Join(failures, "; "))
	return r, nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// open makes the runtime's folder in dir, after removing those of dead runtimes.
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
	defer all.Close() // and with it the lock: others may now tell ours by its own lock
	r.sweep(dir)
	r.dir = filepath.Join(dir, "run-"+strings.ToLower(rand.Text()[:10]))
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return fmt.Errorf("making the sandbox's folder: %w", err)
	}
	r.lock, err = lockFile(filepath.Join(r.dir, "lock"), true)
	return err
}

// lockFile locks a file, which is made when missing, until it is closed.
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

// sweep removes what dead runtimes left in dir and elsewhere. Their sessions died with them.
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
			r.log.Warn("what an earlier sandbox left behind could not be removed; the next start tries again", "folder", run, "error", err)
		}
	}
}

// removeRun removes a runtime's folder and the control groups that it names.
func removeRun(run string) error {
	group, err := os.ReadFile(filepath.Join(run, "cgroup"))
	if err == nil && strings.HasPrefix(filepath.Base(string(group)), "ttydrain-") {
		if err := removeCgroups(string(group)); err != nil {
			return err
		}
	}
	return removeTree(run)
}

// removeTree is os.RemoveAll, also where a session took its own folders' permissions away.
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

// openCgroups makes the control group for the sessions'. Its name is noted first, so that it is found
// again even if this process is killed meanwhile.
func (r *Runtime) openCgroups(name string) error {
	groups, err := newCgroups(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "cgroup"), []byte(groups.dir), 0o600); err != nil {
		return errors.Join(fmt.Errorf("noting the control group: %w", err), removeCgroups(groups.dir))
	}
	r.cgroups, r.caps.Memory = groups, MemoryCgroup1
	if groups.v2 {
		r.caps.Memory = MemoryCgroup2
	}
	return nil
}

// probe finds out whether a session can have namespaces: everything is set up, and nothing started.
func (r *Runtime) probe(userNamespace bool) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), probeTimeout, errors.New("the trial session took too long"))
	defer cancel()
	s := setup{Name: "probe", Namespaces: true, UserNamespace: userNamespace, Account: r.account, Interactive: true, Probe: true}
	p, err := r.launch(ctx, &s, 64<<20)
	if err != nil {
		return err
	}
	_, err = p.init.Wait()
	p.release()
	return err
}

// Capabilities says what sessions get on this host.
func (r *Runtime) Capabilities() Capabilities { return r.caps }

// Start starts the session's command. The error is a [*session.Refusal] where the person, or whoever
// set up the app, can do something about it. Stdout and Stderr of the process must be read to their
// ends, or their descriptors stay open until the garbage collector finds them; Wait must be called.
func (r *Runtime) Start(ctx context.Context, spec session.Spec) (session.Process, error) {
	s, err := r.setupFor(spec)
	if err != nil {
		return nil, err
	}
	p, err := r.launch(ctx, s, spec.Memory)
	if err != nil {
		var refusal *session.Refusal
		if errors.As(err, &refusal) {
			return nil, err
		}
		return nil, fmt.Errorf("starting session %s: %w", spec.Name, err)
	}
	return p, nil
}

// Close removes what the runtime has on the host. All sessions must have ended before.
func (r *Runtime) Close() error {
	err := removeRun(r.dir)
	r.lock.Close()
	if err != nil {
		return fmt.Errorf("removing the sandbox's folder: %w", err)
	}
	return nil
}

// setupFor checks the Spec and says it in the init's terms.
func (r *Runtime) setupFor(spec session.Spec) (*setup, error) {
	// 64 is the longest host name that Linux takes.
	if n := spec.Name; n == "" || n == "." || n == ".." || len(n) > 64 || strings.ContainsAny(n, "/\x00") {
		return nil, fmt.Errorf("starting a session: %q is no name for one", spec.Name)
	}
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return nil, &session.Refusal{Message: "The app has no command. Give it one, such as [/bin/bash]."}
	}
	s := &setup{
		Name: spec.Name, Namespaces: r.caps.Namespaces, UserNamespace: r.caps.UserNamespace,
		Account: r.account, Command: spec.Command, Env: spec.Env, Memory: spec.Memory,
	}
	if spec.CommandLine != "" {
		s.Command = []string{spec.Command[0], "-c", spec.CommandLine}
	}
	for _, argument := range s.Command {
		if strings.ContainsRune(argument, 0) {
			return nil, &session.Refusal{Message: "The command has a NUL byte in it, which no program can be given. Leave it out."}
		}
	}
	if spec.Terminal != nil {
		s.Interactive, s.Terminal = true, *spec.Terminal
	}
	if r.cgroups == nil && spec.Memory > 0 {
		s.DataLimit = spec.Memory
	}
	if spec.Root != "" {
		if !r.caps.Namespaces {
			return nil, &session.Refusal{Message: "The app has a root folder, for which this gateway's host must allow namespaces. " +
				"Run the gateway where it may make them, or take the root folder away."}
		}
		root, err := filepath.Abs(spec.Root)
		if err != nil {
			return nil, fmt.Errorf("starting session %s: finding its root folder: %w", spec.Name, err)
		}
		if info, err := os.Stat(root); err != nil {
			return nil, rootRefusal(root, err)
		} else if !info.IsDir() {
			return nil, rootRefusal(root, unix.ENOTDIR)
		}
		if root != "/" {
			s.Root = root
		}
	}
	return s, nil
}
