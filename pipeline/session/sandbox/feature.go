package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// A Feature is a part of what keeps a session to itself, by the name that `sandbox.require` has for
// it.
type Feature string

// The features, in the order in which they are told.
const (
	// Namespaces: sessions have PID, mount, UTS and IPC namespaces of their own.
	Namespaces Feature = "namespaces"
	// CgroupNamespace: they see no control group but their own.
	CgroupNamespace Feature = "cgroup_namespace"
	// NetworkNamespace: an app may have `network: none`.
	NetworkNamespace Feature = "network_namespace"
	// ReadOnlyRoot: they cannot write to the host's files, nor to those of their root folder.
	ReadOnlyRoot Feature = "read_only_root"
	// HiddenFiles: the gateway's own files are out of sight.
	HiddenFiles Feature = "hidden_files"
	// SeparateUser: they run as another user than the gateway.
	SeparateUser Feature = "separate_user"
	// OwnUser: each session has a user to itself, unless its app names one.
	OwnUser Feature = "own_user"
	// NoNewPrivileges: no program gives them more than they have.
	NoNewPrivileges Feature = "no_new_privileges"
	// DroppedCapabilities: they have few capabilities or none, and never get others.
	DroppedCapabilities Feature = "capabilities"
	// Seccomp: system calls that a shell has no use for are refused.
	Seccomp Feature = "seccomp"
	// Landlock: they can signal nothing outside, nor connect to abstract sockets there; without
	// namespaces, they can write nowhere but to their scratch folders.
	Landlock Feature = "landlock"
	// CgroupMemory: memory is limited by a control group, all processes together.
	CgroupMemory Feature = "cgroup_memory"
	// CgroupPids: the number of processes is limited by a control group.
	CgroupPids Feature = "cgroup_pids"
)

// Features are all of them, in the order in which they are told.
func Features() []Feature {
	return []Feature{Namespaces, CgroupNamespace, NetworkNamespace, ReadOnlyRoot, HiddenFiles, SeparateUser, OwnUser,
		NoNewPrivileges, DroppedCapabilities, Seccomp, Landlock, CgroupMemory, CgroupPids}
}

// remedy says what to do to have the feature.
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

// A Lack is a feature that cannot be had on this host.
type Lack struct {
	Feature Feature
	// Reason is why, Remedy what to do.
	Reason, Remedy string
}

func (l Lack) String() string {
	return fmt.Sprintf("no %s: %s; to have it, %s", l.Feature, l.Reason, l.Remedy)
}

// A MemoryLimit is a way of limiting a session's memory.
type MemoryLimit string

// The ways to limit memory, best first.
const (
	MemoryCgroup2       MemoryLimit = "cgroup v2"
	MemoryCgroup1       MemoryLimit = "cgroup v1"
	MemoryResourceLimit MemoryLimit = "resource limit"
)

// Capabilities is what this host lets the runtime do.
type Capabilities struct {
	// Namespaces: sessions have PID, mount, UTS and IPC namespaces of their own.
	Namespaces bool
	// UserNamespace: they have a user namespace too, since the gateway may not make the others alone.
	UserNamespace bool
	// Memory is how Spec.Memory is enforced.
	Memory MemoryLimit
	// InForce are the features that every session has, or can have where its app decides.
	InForce []Feature
	// Missing are all the others.
	Missing []Lack
}

// Has says whether the feature is in force.
func (c Capabilities) Has(f Feature) bool { return slices.Contains(c.InForce, f) }

// lack notes that a feature cannot be had.
func (c *Capabilities) lack(f Feature, reason string) {
	c.Missing = append(c.Missing, Lack{f, reason, f.remedy()})
}

// require is an error where one of the features is not in force.
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

// String is a line for a person.
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
