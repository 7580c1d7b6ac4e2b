// Package docker is the session runtime that runs a session in a container of its own, made by a
// Docker daemon over the Engine API (version 1.40 or later: Docker 19.03).
//
// # What a session is
//
// A container that is configured like the app's and has nothing of it: of Spec.Container.From, a
// container that is there, it has the image, environment, user, working folder, labels, networks
// (without the app's names on them, so that nobody who looks for the app finds a session), resolver
// settings, and all settings that restrict it (profiles, capabilities, namespaces, limits: see
// confine.go). It has none of its volumes, files, processes, ports, devices or privileges. Of an
// image alone, it has what the image says.
//
// Neither the image's entry point nor its command is run: a session runs Spec.Command, or
// Spec.CommandLine by a shell. Process 1 is the daemon's init (docker-init), which reaps what is
// orphaned and passes signals on. The environment of the Spec wins over the container's. No process
// gains privileges by executing (no-new-privileges). Memory is limited, swap included, by a control
// group, as is the number of processes and threads. The container is never restarted, has no health
// check, and keeps no log: what a session shows is for ttydrain to deliver, and not to be left on
// the daemon's disk.
//
// # How it ends
//
// A container ends with its command, and with it everything in it. [session.Process].Kill has the
// daemon kill it. Then it is removed, with the volumes that its image declares; what can't be
// removed now, since the daemon does not answer, is removed when it does. Containers of a gateway
// that was killed go on until [New] finds them by their labels at its next start.
//
// # Output
//
// The client attaches before the container starts, so that nothing is missing at the beginning. At
// its end the daemon gives up on what is not read within two seconds after the last process has
// ended, and tells nobody. So [Runtime] always reads on: where the session's reader is behind by
// more than a mebibyte and takes less than two a second, the container is paused until it has
// caught up, and what is on its way is kept. A command whose output nobody takes stands still, as
// at a terminal, and with it all of its session.
//
// # What is not guaranteed
//
// The daemon tells no signal: a command that a signal ended has the status 128 plus its number, and
// no name. A signal for a session is for its command, not for its terminal's foreground process
// group. The terminal's modes are the kernel's own, and not the client's. Before Docker 23.0 the
// terminal's size comes a moment after the start. When the daemon goes away, [session.Process].Wait
// says so, and whether the container still runs is not known: it is killed when the daemon is back.
package docker
