// Package docker is the session runtime that runs each session in a container of its own, created
// by a Docker daemon through the Engine API (version 1.40 or later: Docker 19.03).
//
// # The container
//
// A session's container is configured like the app's, but shares nothing with it. From an existing
// container, Spec.Container.From, it copies the image, environment, user, working folder, labels,
// networks (without the app's names on them, so that nobody who connects to the app reaches a
// session), resolver settings, and all settings that restrict it (profiles, capabilities,
// namespaces, limits: see confine.go). It gets none of the app's volumes, files, processes, ports,
// devices or privileges. With only an image, it has the settings of the image.
//
// Neither the image's entry point nor its command runs: a session runs Spec.Command, or a shell
// with Spec.CommandLine. Process 1 is the daemon's init (docker-init), which reaps orphans and
// forwards signals. The Spec's environment overrides the container's. No process gains privileges
// by executing a program (no-new-privileges). A control group limits the memory, swap included, and
// the number of processes and threads. The container is never restarted, has no health check, and
// keeps no log: ttydrain delivers the session's output, and it must not stay on the daemon's disk.
//
// # The end of a session
//
// A container ends with its command, and all of its processes with it. [session.Process].Kill has
// the daemon kill it. It is then removed, with the volumes that its image declares; if the daemon
// does not answer, it is removed later. Containers of a gateway that was killed continue until
// [Runtime.Open] finds them by their labels at the next start.
//
// # Output
//
// The client attaches before the container starts, so that no output is missing at the start. At
// the end, the daemon silently discards output that is not read within two seconds after the last
// process has ended. So [Runtime] always keeps reading: if the session's reader is more than one
// MiB behind and reads less than two MiB per second, the container is paused until the reader has
// caught up, and the output in transit is kept. So a command whose output is not read stops, as on
// a terminal, and its whole session with it.
//
// # What is not guaranteed
//
// The daemon does not report signals: a command that was ended by a signal has the status 128 plus
// its number, without the name. A signal for a session is sent to its command instead of to the
// terminal's foreground process group. The terminal has the kernel's default modes instead of the
// client's. Before Docker 23.0, the terminal's size is set shortly after the start. If the
// connection to the daemon is lost, [session.Process].Wait reports it, and it is unknown whether
// the container still runs: it is killed when the daemon is back.
package docker
