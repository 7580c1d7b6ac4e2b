// Package sandbox is the session runtime that needs no daemon: it starts a session's command on
// this host, in Linux namespaces of its own.
//
// # The session
//
// The runtime executes this program again (/proc/self/exe with a hidden argument) as the session's
// init: process 1 of a new PID namespace, with mount, UTS and IPC namespaces. The init mounts the
// session's file systems, opens its terminal, starts the command, reaps orphans, and reports how
// the command ended. A main function must therefore call [InitMain] before anything else.
//
// The session sees:
//   - a /proc with only its own processes, its own control group, and the host name of its Spec;
//   - an empty home folder in memory, and /tmp, /var/tmp, /run and /dev/shm likewise, which are
//     deleted with the session (/run keeps the file that /etc/resolv.conf points to);
//   - a /dev with null, zero, full, random, urandom, tty, ptmx, pts and shm, and no other device;
//   - the host's other files, or those of Spec.Root instead, which are read-only unless
//     Isolation.Writable is set; set-uid bits and device files have no effect;
//   - none of the private files of Options.Hidden, see below, and none of the files in /proc and
//     /sys that container engines hide;
//   - the descriptors 0, 1 and 2, and only the environment of its Spec.
//
// # Permissions
//
// If the gateway runs as root, each session has its own user ID and group ID of Options.Users, so
// that it shares no per-user limits of the kernel, or it runs as Isolation.User. It has no
// supplementary groups. Root has the capabilities of keptCapabilities, other users have none.
// Neither can gain others: the bounding set is reduced, and no program gains privileges
// (PR_SET_NO_NEW_PRIVS).
//
// A system call filter (seccomp) rejects with EPERM the calls that container engines reject, and
// with ENOSYS those that Linux added after it was written, and clone3, whose flags no filter can
// see. Calls of other architectures kill the process. A session may trace its own processes if it
// sees no others.
//
// Landlock prevents signals to processes outside and connections to abstract sockets outside, which
// a PID namespace and, on the host's network, nothing else would prevent. Without namespaces it
// also makes everything but the scratch folders read-only.
//
// As root, sessions have no user namespace if they can do without. Otherwise they have one that
// only maps the gateway's user, so that no privilege is needed.
//
// # Private files
//
// Options.Hidden returns the gateway's private files and folders. A mount on a file is lost when
// the file is replaced, so the folder of each is covered: with an empty folder if it is closed to
// others (mode 0700 or less) or is itself private, otherwise with a folder in which the other
// entries are mounted as they are at the session's start. Later files in it are not visible in the
// session. Private files, their hard links, names derived from theirs (key.pem~), and files of the
// gateway's user that are closed to others are not mounted. The same folders are covered where
// other mounts show them, as are the folders of the targets of symbolic links to private files.
//
// [Runtime.Conceal] covers, in running sessions, the files that have become private: after a
// reload, or when a folder was replaced. A session whose files cannot be covered does not start.
//
// # Missing features
//
// [New] tests each [Feature] in a session that starts no command. [Capabilities] lists the features
// in force, and for the others the reason and the remedy. A session gets all features in force or
// does not start. New fails if a feature of Options.Require is missing.
//
// # The end of a session
//
// When the command has ended, the init exits, and the kernel kills every process of its namespace,
// including daemons. [session.Process].Kill kills the init, with the same result. The init monitors
// a socket to the gateway: when the gateway is gone, for whatever reason, the session ends. (The
// parent-death signal is not suitable: it is sent when the *thread* that started the child ends,
// which in a Go program can happen at any time.)
//
// # Memory
//
// Spec.Memory limits all processes of a session together, including the files in its home and /tmp,
// by a control group of version 1 or 2, depending on which one has the host's memory controller and
// is writable. The kernel then kills a process of a session that exceeds the limit.
//
// Otherwise the limit is a resource limit, RLIMIT_DATA: it applies to each process separately, and
// an allocation beyond it fails. RLIMIT_AS is not suitable: it counts reserved address space, of
// which the runtimes of Go, Java and Node reserve many times more than they use, so they would not
// even start. RLIMIT_DATA counts (since Linux 4.7) private writable memory. Home and /tmp can then
// each hold as much again.
//
// # Processes
//
// Spec.Pids limits the processes and threads of a session by the pids controller of control groups,
// and by RLIMIT_NPROC if the session has its own user ID or user namespace. The limit is slightly
// higher to account for the init, which reports the end of a session at its limit. Without control
// groups, RLIMIT_NPROC counts all processes of the session's user, and does not limit root.
//
// # Hosts without namespaces
//
// A session is then a process group under an init that adopts and kills its descendants. It sees
// the host's processes, host name and /tmp; its home is a folder that is created for it and removed
// afterwards. Spec.Root and Isolation.NoNetwork are refused. Processes that survive the end of the
// init are found by the session's control group, or by its own user ID, which has no name there. A
// session that runs as the gateway's user and kills its init leaves its processes running if there
// is no control group.
//
// # What is not guaranteed
//
// The sandbox does not protect against an attacker with a kernel exploit. The network is the host's
// unless Isolation.NoNetwork is set, including the services on its loopback interface; sockets in
// the file system outside of the scratch folders are accessible as far as their permissions allow.
// Files are readable as far as the session's user may read them.
//
// With Isolation.Writable, files written outside of the scratch folders remain.
package sandbox
