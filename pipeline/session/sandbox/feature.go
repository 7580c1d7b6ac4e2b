package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// Feature is an aspect of a session's isolation. Its value is its name in the `sandbox.require`
// setting.
type Feature string

// The features, in the order in which they are reported.
const (
	// Namespaces: sessions have PID, mount, UTS and IPC namespaces of their own.
	Namespaces Feature = "namespaces"
	// CgroupNamespace: they only see their own control group.
	CgroupNamespace Feature = "cgroup_namespace"
	// NetworkNamespace: an app may have `network: none`.
	NetworkNamespace Feature = "network_namespace"
	// ReadOnlyRoot: the host's files, or those of their root folder, are read-only.
	ReadOnlyRoot Feature = "read_only_root"
	// HiddenFiles: the gateway's own files are not visible.
	HiddenFiles Feature = "hidden_files"
	// SeparateUser: they run as another user than the gateway.
	SeparateUser Feature = "separate_user"
	// OwnUser: each session has its own user ID, unless its app names a user.
	OwnUser Feature = "own_user"
	// NoNewPrivileges: no program can gain privileges.
	NoNewPrivileges Feature = "no_new_privileges"
	// DroppedCapabilities: they have few capabilities or none, and cannot gain others.
	DroppedCapabilities Feature = "capabilities"
	// Seccomp: system calls that a shell does not need are rejected.
	Seccomp Feature = "seccomp"
	// Landlock: they cannot signal processes outside, nor connect to abstract sockets there;
	// without namespaces, they can only write to their scratch folders.
	Landlock Feature = "landlock"
	// CgroupMemory: a control group limits the memory of all processes together.
	CgroupMemory Feature = "cgroup_memory"
	// CgroupPids: a control group limits the number of processes.
	CgroupPids Feature = "cgroup_pids"
)

// Features returns all features, in the order in which they are reported.
func Features() []Feature {
	return []Feature{Namespaces, CgroupNamespace, NetworkNamespace, ReadOnlyRoot, HiddenFiles, SeparateUser, OwnUser,
		NoNewPrivileges, DroppedCapabilities, Seccomp, Landlock, CgroupMemory, CgroupPids}
}

// remedy returns what an operator can do to get the feature.
func (f Feature) remedy() string {
	switch f {
	case Namespaces:
		return "run the gateway as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, " +
			"kernel.apparmor_restrict_unprivileged_userns; in a container: CAP_SYS_ADMIN, and a seccomp profile that lets it make them)"
	case CgroupNamespace, NetworkNamespace:
		return "give the gateway namespaces, and a kernel that is built with these too"
	case ReadOnlyRoot:
		return "give the gateway namespaces and Linux 5.12 or later"
	case HiddenFiles:
		return "give the gateway namespaces; until then, run it as root and keep its files readable for root alone"
	case SeparateUser:
		return "run the gateway as root, whose sessions have other users"
	case OwnUser:
		return "run the gateway as root, and set sandbox.uid_range to user IDs that it may use and no account has"
	case Seccomp:
		return "run the gateway on Linux with CONFIG_SECCOMP_FILTER, on amd64 or arm64"
	case Landlock:
		return "run Linux 6.12 or later with landlock among its security modules (the boot parameter lsm=)"
	case CgroupMemory, CgroupPids:
		return "run the gateway as root, or as a service with Delegate=memory pids"
	default:
		return "run the gateway as root or as a user without any capabilities"
	}
}

// Lack is a feature that is not available on this host.
type Lack struct {
	Feature Feature
	// Reason is why it is missing, Remedy what to do.
	Reason, Remedy string
}

func (l Lack) String() string {
	return fmt.Sprintf("no %s: %s; to have it, %s", l.Feature, l.Reason, l.Remedy)
}

// MemoryLimit is a mechanism for limiting a session's memory.
type MemoryLimit string

// The mechanisms for limiting memory, best first.
const (
	MemoryCgroup2       MemoryLimit = "cgroup v2"
	MemoryCgroup1       MemoryLimit = "cgroup v1"
	MemoryResourceLimit MemoryLimit = "resource limit"
)

// Capabilities describes the features that the runtime has on this host.
type Capabilities struct {
	// Namespaces: sessions have PID, mount, UTS and IPC namespaces of their own.
	Namespaces bool
	// UserNamespace: they also have a user namespace, because the gateway may not create the others
	// without one.
	UserNamespace bool
	// Memory is the mechanism that enforces Spec.Memory.
	Memory MemoryLimit
	// InForce are the features that every session has, or can have if its app decides.
	InForce []Feature
	// Missing are all other features.
	Missing []Lack
}

// Has reports whether the feature is in force.
func (c Capabilities) Has(f Feature) bool { return slices.Contains(c.InForce, f) }

// lack records a missing feature.
func (c *Capabilities) lack(f Feature, reason string) {
	c.Missing = append(c.Missing, Lack{f, reason, f.remedy()})
}

// require returns an error if one of the features is missing.
func (c Capabilities) require(features []Feature) error {
	var missing []string
	for _, l := range c.Missing {
		if slices.Contains(features, l.Feature) {
			missing = append(missing, l.String())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("this host does not have what sandbox.require asks for: %s. Do that, or take it from sandbox.require", strings.Join(missing, ". And "))
}

// String returns a line for operators.
func (c Capabilities) String() string {
	var b strings.Builder
	switch {
	case c.UserNamespace:
		b.WriteString("sessions run in namespaces of their own (with a user namespace)")
	case c.Namespaces:
		b.WriteString("sessions run in namespaces of their own")
	default:
		b.WriteString("sessions run WITHOUT namespaces, beside the host's processes")
	}
	b.WriteString("; memory is limited by ")
	switch c.Memory {
	case MemoryResourceLimit:
		b.WriteString("resource limit (RLIMIT_DATA), each process alone")
	default:
		b.WriteString(string(c.Memory) + ", all processes together")
	}
	b.WriteString("; processes are limited by ")
	if c.Has(CgroupPids) {
		b.WriteString("cgroup")
	} else {
		b.WriteString("resource limit (RLIMIT_NPROC), those of a session's user together, and root's not at all")
	}
	b.WriteString("; in force:")
	for _, f := range c.InForce {
		b.WriteString(" " + string(f))
	}
	return b.String()
}
