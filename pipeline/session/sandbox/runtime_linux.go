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

// Runtime starts sessions on this host. It is safe for concurrent use.
type Runtime struct {
	log     *slog.Logger
	caps    Capabilities
	account account
	hidden  func() []string // nil for none
	// oneUser: sessions can only run as the gateway's user.
	oneUser bool
	// filter is the system call filter for Seccomp, taken from filters.
	filter  []filterInstruction
	filters *filters

	// dir is this runtime's own folder in Options.Dir; lock is locked for the lifetime of this
	// process, so that other runtimes can tell whether it is alive.
	dir  string
	lock *os.File
	// scratch contains the sessions' folders if there is no mount namespace: dir, or if sessions
	// cannot access dir, a folder beside it.
	scratch string
	// concealed counts the calls of Conceal, so that a session that is starting notices them.
	concealed atomic.Int64

	mu      sync.Mutex
	running map[*process]struct{} // guarded by mu

	// cgroups is nil if control groups limit nothing.
	cgroups *cgroups
	// users is nil if sessions share a user.
	users *users
	// countsByNamespace: see the function.
	countsByNamespace bool
}

var _ session.Runtime = (*Runtime)(nil)

// probeTimeout limits the trial session in New.
const probeTimeout = 30 * time.Second

// New determines by trial which features the host provides, and removes the remains of runtimes of
// killed gateways. The program must call [InitMain] first in its main function.
func New(o Options) (*Runtime, error) {
	return newRuntime(o, Capabilities{Namespaces: true, Memory: MemoryCgroup2}, new(filters))
}

// newRuntime is New with at most the given capabilities. If they have a user namespace, the others
// are only tried together with one.
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

// find determines which of the given capabilities sessions can have.
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
			// A session would fail in the same way and report it.
			r.log.Warn("trial session without namespaces failed", "error", err)
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
			lacks[OwnUser] = joinLines(err)
		}
	}
}

func (r *Runtime) closeUsers() {
	if r.users != nil {
		r.users.close()
		r.users = nil
	}
}

// probeUsers is probe with a user ID of the session's own, if possible.
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
		lacks[OwnUser] = joinLines(err)
		return tried, nil
	}
	return nil, err
}

// probeAll tries namespaces, without and with a user namespace. It returns the features that these
// sessions lack; nil if there are no namespaces, with the reason in lacks.
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
		failures = append(failures, joinLines(err))
	}
	lacks[Namespaces] = strings.Join(failures, "; ")
	return nil
}

// joinLines returns the text of an error without line ends.
func joinLines(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// openCgroups creates the parent control groups of the sessions. It stores their names, so that
// they are found if this process is killed.
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
		lacks[f] = joinLines(err)
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

// probe determines which features a session can have: it sets up everything, and starts no command.
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

// Capabilities returns the features of sessions on this host.
func (r *Runtime) Capabilities() Capabilities { return r.caps }

// Start starts the session's command. The error is a [*session.Refusal] if the user, or the app's
// administrator, can do something about it. Stdout and Stderr of the process must be read to their
// ends, or their descriptors stay open until they are garbage collected; Wait must be called.
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

// secretsIn returns the files to hide in sessions with this root folder.
func (r *Runtime) secretsIn(root string) (secrets, error) {
	if r.hidden == nil || !r.caps.Namespaces {
		return secrets{}, nil
	}
	return secretsIn(root, r.hidden())
}

// Conceal hides the private files in running sessions. It must be called when Options.Hidden may
// return other files than before, or their folders may have changed.
func (r *Runtime) Conceal() {
	r.concealed.Add(1)
	r.mu.Lock()
	running := slices.Collect(maps.Keys(r.running))
	r.mu.Unlock()
	for _, p := range running {
		p.conceal()
	}
}

// Close removes the runtime's resources on the host. All sessions must have ended.
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

// setupFor checks the Spec and converts it to the init's setup.
func (r *Runtime) setupFor(spec session.Spec) (_ *setup, err error) {
	// 64 is the maximum length of a host name on Linux.
	if n := spec.Name; n == "" || n == "." || n == ".." || len(n) > 64 || strings.ContainsAny(n, "/\x00") {
		return nil, fmt.Errorf("starting a session: %q is not a valid name", spec.Name)
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
			return nil, &session.Refusal{Message: "The command contains a NUL byte, which no argument can have. Remove it."}
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
		s.IDs = r.users.UserRange // mapped in its user namespace
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
