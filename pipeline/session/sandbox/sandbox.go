package sandbox

import (
	"log/slog"
	"strings"
)

// Options says how to set up a [Runtime].
type Options struct {
	// Dir is a folder that the runtime keeps its notes in, and sessions' homes where there are no mount
	// namespaces. It is made when missing. It should be the same at each start: there [New] finds what
	// a killed predecessor left behind. Several runtimes may share it. "" is a folder of the user's in
	// the system's folder for temporary files.
	Dir string
	// Log gets what goes wrong without being an error of a session's; nil is slog.Default().
	Log *slog.Logger
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
	// Missing says what could not be had, and why, a sentence each.
	Missing []string
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
	for _, m := range c.Missing {
		b.WriteString("; " + m)
	}
	return b.String()
}
