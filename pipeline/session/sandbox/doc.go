// Package sandbox is the session runtime that needs no daemon: it starts a session's command on this
// very host, in Linux namespaces of its own.
//
// # What a session is
//
// The runtime runs this program's own file again (/proc/self/exe with a hidden argument) as the
// session's init, which is process 1 of a new PID namespace, with mount, UTS and IPC namespaces
// beside it. The init mounts what the session sees, opens its terminal, starts the command, reaps
// what is orphaned, and reports how the command ended. A main function must therefore call [InitMain]
// before anything else.
//
// The session sees:
//   - a /proc with its own processes only, and the host name of its Spec;
//   - an empty home folder in memory, which is gone with the session, and a /tmp likewise;
//   - a /dev with null, zero, full, random, urandom, tty, ptmx, pts and shm, and no other device;
//   - the host's other files, or those of Spec.Root in their place;
//   - the descriptors 0, 1 and 2, and of the environment only what its Spec says.
//
// Root's capabilities are cut down to those that a container usually has, /sys and /proc/sys cannot
// be written: otherwise a session of root's could lift its own limits.
//
// As root there is no user namespace. As another user there is one, with that user in it and nobody
// else, so that no privilege is needed.
//
// # How it ends
//
// When the command has ended the init exits, and the kernel kills every process of its namespace,
// daemons too. [session.Process].Kill kills the init, with the same result. The init watches a socket
// to the gateway: when the gateway is gone, for whatever reason, so is the session. (The parent-death
// signal is not used for that: it is sent when the *thread* that started the child ends, which in a
// Go program can happen at any time.)
//
// # Memory
//
// Spec.Memory limits all processes of a session together, with what it stores in its home and /tmp,
// by a control group: of version 1 or 2, whichever has the host's memory controller and can be
// written. The kernel then kills a process of the session that grew too large.
//
// Otherwise the limit is a resource limit, RLIMIT_DATA: it holds for each process alone, and an
// allocation beyond it fails. RLIMIT_AS would be the wrong one: it counts reserved address space, of
// which the runtimes of Go, Java or Node reserve many times more than they ever use, so that they
// would not even start. RLIMIT_DATA counts (since Linux 4.7) private memory that can be written.
// Home and /tmp can then each hold as much as the limit besides.
//
// # Where namespaces are not to be had
//
// [New] finds out by trying. Without them [Runtime.Capabilities] says so, and why; a session is then
// a process group under an init that adopts and kills its descendants. It sees the host's processes,
// host name and /tmp; its home is a folder made for it and removed afterwards. Spec.Root is refused.
// A session that kills its init leaves its processes running, unless there is a control group to
// find them by.
//
// # What is not guaranteed
//
// This is no wall against an attacker with a hole in the kernel. The network is the host's. Without
// Spec.Root the host's files are as readable and writable as they are for the gateway's user; what
// is written into them outside of home, /tmp and /dev stays, as does what is written into Spec.Root.
package sandbox
