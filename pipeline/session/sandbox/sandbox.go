package sandbox

import "log/slog"

// A UserRange is a range of user IDs. The zero value has none.
type UserRange struct{ Low, High int }

// Options says how to set up a [Runtime].
type Options struct {
	// Dir is a folder that the runtime keeps its notes in, and sessions' homes where there are no
	// mount namespaces. It is made when missing. It should be the same at each start: there [New]
	// finds what a killed predecessor left behind. Several runtimes may share it. "" is a folder of
	// the user's in the system's folder for temporary files.
	Dir string
	// Hidden returns the private files and folders, which no session may see, whatever user it has:
	// the gateway's keys, its store, its configuration. It is called for each session and by Conceal.
	// The files may be missing: their folders are covered. nil is for none.
	Hidden func() []string
	// Users are the user IDs for sessions whose app names no user, where the gateway is root: each
	// session has one to itself. The zero range has sessions share the user nobody.
	Users UserRange
	// Require are the features without which [New] fails.
	Require []Feature
	// Log gets what goes wrong without being an error of a session's; nil is slog.Default().
	Log *slog.Logger
}
