// Package sandbox is the session runtime that needs no daemon: it starts a session's command on
// this very host, in Linux namespaces of its own.
//
// # What a session is
//
// The runtime runs this program's own file again (/proc/self/exe with a hidden argument) as the
// session's init, which is process 1 of a new PID namespace, with mount, UTS and IPC namespaces
// beside it. The init mounts what the session sees, opens its terminal, starts the command, reaps
// what is orphaned, and reports how the command ended. A main function must therefore call
// [InitMain] before anything else.
//
// The session sees:
//   - a /proc with its own processes only, its own control group, and the host name of its Spec;
//   - an empty home folder in memory, and /tmp, /var/tmp, /run and /dev/shm likewise, which are gone with
//     the session (/run keeps the file that /etc/resolv.conf leads to);
//   - a /dev with null, zero, full, random, urandom, tty, ptmx, pts and shm, and no other device;
//   - the host's other files, or those of Spec.Root in their place, which it cannot write unless
//     Isolation.Writable; none of them lends rights (set-uid) or is a device;
//   - nothing of the private files of Options.Hidden, see below, and nothing of what container engines
//     hide of /proc and /sys;
//   - the descriptors 0, 1 and 2, and of the environment only what its Spec says.
//
// # What it may do
//
// Where the gateway is root, the session has a user ID and a group ID of Options.Users to itself,
// so that it shares no limits that the kernel has by user, or runs as Isolation.User. It has no
// supplementary groups. Another user than root has no capabilities; root has those of
// keptCapabilities. Neither gets others: the bounding set is emptied of them, and no program gives
// new privileges (PR_SET_NO_NEW_PRIVS).
//
// A filter of system calls (seccomp) refuses with EPERM what container engines refuse, and with
// ENOSYS what Linux has got since it was written, and clone3, whose flags no filter can see. The
// other architectures' calls kill. A session may trace its own processes, where it sees no others.
//
// Landlock keeps it from signalling and from connecting to abstract sockets outside, which a PID
// namespace and, on the host's network, nothing else would do. Where there are no namespaces it
// also makes everything but the scratch folders read-only.
//
// As root there is no user namespace if it can do without. As another user there is one, with that
// user in it and nobody else, so that no privilege is needed.
//
// # Private files
//
// Options.Hidden names the gateway's private files and folders. A mount on a file is lost when the
// file is replaced, so the folder of each of them is covered: with an empty folder where it is
// closed to others (mode 0700 or less) or is itself private, otherwise with a folder in which the
// other entries are mounted as they are at the session's start. What is written there later is not
// visible in the session. Not shown are the private files, their hard links, names that are made of
// theirs (key.pem~), and files of the gateway's user that are closed to others. The same folders
// are covered where other mounts show them, and those that symbolic links to private files lead to.
//
// [Runtime.Conceal] covers what has become private in the sessions that run: after a reload, or
// where a folder was replaced. A session whose files cannot be covered does not start.
//
// # What a host does not have
//
// [New] tries each [Feature] in a session that starts nothing, and [Capabilities] says which are in
// force, and why others are not and what to do. A session gets all that are in force or does not
// start. What Options.Require names and is missing makes New fail.
//
// # How it ends
//
// When the command has ended the init exits, and the kernel kills every process of its namespace,
// daemons too. [session.Process].Kill kills the init, with the same result. The init watches a
// socket to the gateway: when the gateway is gone, for whatever reason, so is the session. (The
// parent-death signal is not used for that: it is sent when the *thread* that started the child
// ends, which in a Go program can happen at any time.)
//
// # Memory
//
// Spec.Memory limits all processes of a session together, with what it stores in its home and /tmp,
// by a control group: of version 1 or 2, whichever has the host's memory controller and can be
// written. The kernel then kills a process of the session that grew too large.
//
// Otherwise the limit is a resource limit, RLIMIT_DATA: it holds for each process alone, and an
// allocation beyond it fails. RLIMIT_AS would be the wrong one: it counts reserved address space,
// of which the runtimes of Go, Java or Node reserve many times more than they ever use, so that
// they would not even start. RLIMIT_DATA counts (since Linux 4.7) private memory that can be
// written. Home and /tmp can then each hold as much as the limit besides.
//
// # Processes
//
// Spec.Pids limits the processes and threads of a session by the pids controller of control groups,
// and by RLIMIT_NPROC where the session has a user ID or a user namespace to itself. A little more
// than that is for the init, which reports the end of a session at its limit. Without control
// groups RLIMIT_NPROC counts all processes of the session's user, and does not limit root.
//
// # Where namespaces are not to be had
//
// Then a session is a process group under an init that adopts and kills its descendants. It sees
// the host's processes, host name and /tmp; its home is a folder made for it and removed
// afterwards. Spec.Root and Isolation.NoNetwork are refused. Processes that
// survive the end of the init are found by the session's control group, or by its own user ID. That
// user has no name there. A session of the gateway's user that kills its init leaves its processes
// running where there is no control group.
//
// # What is not guaranteed
//
// This is no wall against an attacker with a hole in the kernel. The network is the host's unless
// Isolation.NoNetwork, with what listens on its loopback interface; sockets in the file system
// outside of the scratch folders can be connected to as far as their permissions allow. Files are
// as readable as they are for the session's user.
//
// With Isolation.Writable, what is written outside of the scratch folders stays.
package sandbox
