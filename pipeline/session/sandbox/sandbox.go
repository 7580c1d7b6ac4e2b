package sandbox

import "log/slog"

// UserRange is a range of user IDs. The zero value is empty.
type UserRange struct{ Low, High int }

// Options configure a [Runtime].
type Options struct {
	// Dir is a folder for the runtime's state, and for sessions' homes if there are no mount
	// namespaces. It is created if missing. It should stay the same over restarts, because [New]
	// finds the remains of a killed predecessor there. Several runtimes may share it. "" is a
	// folder of the user in the system's folder for temporary files.
	Dir string
	// Hidden returns the private files and folders, which no session may see, as any user: the
	// gateway's keys, its store, its configuration. It is called for each session and by Conceal.
	// The files may be missing: their folders are covered. nil means none.
	Hidden func() []string
	// Users are the user IDs for sessions whose app names no user, if the gateway is root: each
	// session has its own. With an empty range, sessions share the user nobody.
	Users UserRange
	// Require are the features without which [New] fails.
	Require []Feature
	// Log receives problems that are not errors of a session; nil is slog.Default().
	Log *slog.Logger
}
