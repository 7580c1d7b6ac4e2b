package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// A Runtime starts sessions on this host. It may be used by several goroutines at once.
type Runtime struct {
	log     *slog.Logger
	caps    Capabilities
	account account
	hidden  func() []string // nil for none
	// oneUser: sessions can only run as the gateway's user.
	oneUser bool
	// filter is of system calls, for Seccomp, and one of filters.
	filter  []filterInstruction
	filters *filters

	// dir is this runtime's own folder in Options.Dir; lock is locked as long as this process lives,
	// so that others can tell it from a dead one's.
	dir  string
	lock *os.File
	// scratch is where sessions have their folders where there is no mount namespace: dir, or where
	// dir is out of their reach, a folder beside it.
	scratch string
	// concealed counts the calls of Conceal, so that a session that starts meanwhile notices them.
	concealed atomic.Int64

	mu      sync.Mutex
	running map[*process]struct{} // guarded by mu

	// cgroups is nil where control groups limit nothing.
	cgroups *cgroups
	// users is nil where sessions share a user.
	users *users
	// countsByNamespace: see the function.
	countsByNamespace bool
}

var _ session.Runtime = (*Runtime)(nil)

// probeTimeout is how long to wait for the trial session in New.
const probeTimeout = 30 * time.Second

// New finds out, by trying, what the host lets sessions have, and removes what runtimes of killed
// gateways left behind. The program must call [InitMain] first thing in its main function.
func New(o Options) (*Runtime, error) {
	return newRuntime(o, Capabilities{Namespaces: true, Memory: MemoryCgroup2}, new(filters))
}

// newRuntime is New with at most the capabilities given. A user namespace in them means that the
// others are tried only together with one.
func newRuntime(o Options, most Capabilities, f *filters) (*Runtime, error) {
	r := &Runtime{log: o.Log, account: currentAccount(), hidden: o.Hidden, filters: f, running: make(map[*process]struct{}), countsByNamespace: countsByNamespace()}
	if r.log == nil {
		r.log = slog.Default()
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(os.TempDir(), "ttydrain-sandbox-"+strconv.Itoa(os.Getuid()))
	}
	if err := r.open(o.Dir); err != nil {
		return nil, err
	}
	r.find(most, o.Users)
	if err := r.caps.require(o.Require); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// find finds out what sessions can have, of the most given.
func (r *Runtime) find(most Capabilities, ids UserRange) {
	lacks := make(map[Feature]string)
	r.caps.Memory = MemoryResourceLimit
	if most.Memory != MemoryResourceLimit {
		r.openCgroups(lacks)
	} else {
		lacks[CgroupMemory], lacks[CgroupPids] = "it was not asked for", "it was not asked for"
	}
	r.oneUser = r.account.UID != 0
	r.findUsers(ids, lacks)
	tried := r.probeAll(most, lacks)
	if tried == nil {
		for _, f := range []Feature{CgroupNamespace, NetworkNamespace, ReadOnlyRoot, HiddenFiles} {
			lacks[f] = "it needs namespaces"
		}
		var err error
		if tried, err = r.probeUsers(setup{OneUser: r.oneUser}, lacks); err != nil {
			// A session would fail alike, and say so.
			r.log.Warn("a trial session without namespaces failed", "error", err)
		}
	}
	for f, reason := range tried {
		lacks[f] = reason
	}
	if r.oneUser {
		lacks[SeparateUser] = fmt.Sprintf("the gateway, which runs as %s, cannot become another user", r.account.Name)
		lacks[OwnUser] = lacks[SeparateUser]
	}
	if lacks[OwnUser] != "" {
		r.closeUsers()
	}
	for _, f := range Features() {
		if reason, missing := lacks[f]; missing {
			r.caps.lack(f, reason)
		} else {
			r.caps.InForce = append(r.caps.InForce, f)
		}
	}
}

// findUsers opens the range of user IDs for sessions.
func (r *Runtime) findUsers(ids UserRange, lacks map[Feature]string) {
	switch {
	case r.oneUser:
	case ids == (UserRange{}):
		lacks[OwnUser] = "no range of user IDs is set"
	default:
		var err error
		if r.users, err = openUsers(ids, r.dir); err != nil {
			lacks[OwnUser] = oneLine(err)
		}
	}
}

func (r *Runtime) closeUsers() {
	if r.users != nil {
		r.users.close()
		r.users = nil
	}
}

// probeUsers is probe, with a user ID of the session's own if that can be.
func (r *Runtime) probeUsers(s setup, lacks map[Feature]string) (map[Feature]string, error) {
	if r.users == nil || s.OneUser {
		return r.probe(s)
	}
	with := s
	with.IDs, with.OwnUser = r.users.UserRange, r.users.Low
	tried, err := r.probe(with)
	if err == nil {
		return tried, nil
	}
	if tried, other := r.probe(s); other == nil {
		lacks[OwnUser] = oneLine(err)
		return tried, nil
	}
	return nil, err
}

// probeAll tries namespaces, without and with a user namespace. It returns what these sessions
// lack; nil where there are none, which lacks tells then.
func (r *Runtime) probeAll(most Capabilities, lacks map[Feature]string) map[Feature]string {
	if !most.Namespaces {
		lacks[Namespaces] = "they were not asked for"
		return nil
	}
	failures := []string{}
	root := os.Getuid() == 0
	for _, try := range []setup{
		{Namespaces: true, OneUser: !root},
		{Namespaces: true, UserNamespace: true, OneUser: !root},
		{Namespaces: true, UserNamespace: true, OneUser: true},
	} {
		if !try.UserNamespace && (most.UserNamespace || !root) {
			continue
		}
		tried, err := r.probeUsers(try, lacks)
		if err == nil {
			r.caps.Namespaces, r.caps.UserNamespace, r.oneUser = true, try.UserNamespace, try.OneUser
			return tried
		}
		failures = append(failures, oneLine(err))
	}
	lacks[Namespaces] = strings.Join(failures, "; ")
	return nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// openCgroups makes the control groups for the sessions'. Their names are noted, so that they are
// found again if this process is killed.
func (r *Runtime) openCgroups(lacks map[Feature]string) {
	groups, failed := newCgroups("ttydrain-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(r.dir))
	dirs := groups.dirs()
	if err := os.WriteFile(filepath.Join(r.dir, "cgroup"), []byte(strings.Join(dirs, "\n")), 0o600); err != nil {
		for _, dir := range dirs {
			err = errors.Join(err, removeCgroups(dir))
		}
		failed = map[Feature]error{CgroupMemory: err, CgroupPids: err}
		groups, dirs = nil, nil
	}
	for f, err := range failed {
		lacks[f] = oneLine(err)
	}
	if len(dirs) == 0 {
		return
	}
	r.cgroups = groups
	for _, h := range groups.hierarchies {
		switch {
		case h.memory && h.v2:
			r.caps.Memory = MemoryCgroup2
		case h.memory:
			r.caps.Memory = MemoryCgroup1
		}
	}
}

// probe finds out what a session can have: everything is set up, and nothing started.
func (r *Runtime) probe(s setup) (lacks map[Feature]string, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), probeTimeout, errors.New("the trial session took too long"))
	defer cancel()
	s.Name, s.Gateway, s.Interactive, s.Probe, s.NoNetwork = "probe", r.account, true, true, true
	if s.Namespaces {
		if s.Secrets, err = secretsIn("", []string{r.dir}); err != nil {
			return nil, err
		}
	}
	var filterErr error
	if r.filter, filterErr = r.filters.get(s.Namespaces); filterErr == nil {
		s.Filter = r.filter
	}
	s.groupLimits = limits{memory: 64 << 20}
	p, lacks, err := r.launch(ctx, &s)
	if err != nil {
		return nil, err
	}
	if filterErr != nil {
		lacks[Seccomp] = filterErr.Error()
	}
	_, err = p.init.Wait()
	p.release()
	return lacks, err
}

// Capabilities says what sessions get on this host.
func (r *Runtime) Capabilities() Capabilities { return r.caps }

// Start starts the session's command. The error is a [*session.Refusal] where the person, or
// whoever set up the app, can do something about it. Stdout and Stderr of the process must be read
// to their ends, or their descriptors stay open until the garbage collector finds them; Wait must
// be called.
func (r *Runtime) Start(ctx context.Context, spec session.Spec) (session.Process, error) {
	concealed := r.concealed.Load()
	s, err := r.setupFor(spec)
	if err != nil {
		return nil, err
	}
	p, _, err := r.launch(ctx, s)
	if err != nil {
		var refusal *session.Refusal
		if errors.As(err, &refusal) {
			return nil, err
		}
		return nil, fmt.Errorf("starting session %s: %w", spec.Name, err)
	}
	p.root, p.secrets = s.Root, s.Secrets
	r.mu.Lock()
	r.running[p] = struct{}{}
	r.mu.Unlock()
	if r.concealed.Load() != concealed {
		p.conceal()
	}
	return p, nil
}

// secretsIn returns what has to be hidden in sessions with this root folder.
func (r *Runtime) secretsIn(root string) (secrets, error) {
	if r.hidden == nil || !r.caps.Namespaces {
		return secrets{}, nil
	}
	return secretsIn(root, r.hidden())
}

// Conceal hides the private files from the sessions that run already, where Options.Hidden returns
// others than before or they lie in other folders. It is to be called when that may be so.
func (r *Runtime) Conceal() {
	r.concealed.Add(1)
	r.mu.Lock()
	running := slices.Collect(maps.Keys(r.running))
	r.mu.Unlock()
	for _, p := range running {
		p.conceal()
	}
}

// Close removes what the runtime has on the host. All sessions must have ended before.
func (r *Runtime) Close() error {
	if r.users != nil {
		r.users.close()
	}
	err := removeRun(r.dir)
	r.lock.Close()
	if err != nil {
		return fmt.Errorf("removing the sandbox's folder: %w", err)
	}
	return nil
}

// setupFor checks the Spec and says it in the init's terms.
func (r *Runtime) setupFor(spec session.Spec) (_ *setup, err error) {
	// 64 is the longest host name that Linux takes.
	if n := spec.Name; n == "" || n == "." || n == ".." || len(n) > 64 || strings.ContainsAny(n, "/\x00") {
		return nil, fmt.Errorf("starting a session: %q is no name for one", spec.Name)
	}
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return nil, &session.Refusal{Message: "The app has no command. Give it one, such as [/bin/bash]."}
	}
	s := &setup{
		Name: spec.Name, Namespaces: r.caps.Namespaces, UserNamespace: r.caps.UserNamespace, OneUser: r.oneUser,
		Features: r.caps.InForce, Filter: r.filter, NoNetwork: spec.Isolation.NoNetwork, Writable: spec.Isolation.Writable,
		Gateway: r.account, User: spec.Isolation.User, Command: spec.Command, Env: spec.Env, Memory: spec.Memory,
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
	if r.caps.Memory == MemoryResourceLimit {
		s.DataLimit = spec.Memory
	}
	if s.NoNetwork && !r.caps.Has(NetworkNamespace) {
		return nil, &session.Refusal{Message: "The app is to have no network, for which this gateway's host must allow namespaces. " +
			"Run the gateway where it may make them, or give the app the host's network."}
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
	if s.Secrets, err = r.secretsIn(s.Root); err != nil {
		var refusal *session.Refusal
		if errors.As(err, &refusal) {
			return nil, err
		}
		return nil, fmt.Errorf("starting session %s: %w", spec.Name, err)
	}
	if r.users != nil {
		s.IDs = r.users.UserRange // which its user namespace has
		if s.User == "" {
			if s.OwnUser, err = r.users.take(); err != nil {
				return nil, err
			}
		}
	}
	s.groupLimits.memory = spec.Memory
	s.groupLimits.pids, s.ProcessLimit = r.processLimit(s, spec.Pids)
	return s, nil
}
