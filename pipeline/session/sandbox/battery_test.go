//go:build linux

package sandbox

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// An attempt is an action that a session tries, which must not succeed unless its outcome says so.
type attempt struct {
	name string
	// try is an expression of Python, with the functions of batteryPrelude.
	try string
	// want are the possible outcomes: the names of errors, or results of the functions.
	want string
	// root are those of a session of root, bare those without namespaces, if they differ; "-" skips it
	// there.
	root, bare string
}

// outcomes returns the possible ones for a session.
func (a attempt) outcomes(root, bare bool) []string {
	want := a.want
	if root && a.root != "" {
		want = a.root
	}
	if bare && a.bare != "" {
		want = a.bare
	}
	return strings.Split(want, "|")
}

// batteryPrelude has the functions for attempts. Each attempt runs in a separate process.
const batteryPrelude = `
import array, ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, struct, subprocess, sys, termios
libc = ctypes.CDLL(None, use_errno=True)
here = os.path.expanduser('~')
inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def why(e): return errno.errorcode.get(e.errno, str(e.errno))
def guard(f):
    def g(*args):
        try: return f(*args)
        except OSError as e: return why(e)
    return g
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(a) for a in (number,) + args])
    return 'allowed' if result >= 0 else errno.errorcode.get(ctypes.get_errno(), '?')
def libcall(name, *args):
    ctypes.set_errno(0)
    return 'allowed' if getattr(libc, name)(*args) >= 0 else errno.errorcode.get(ctypes.get_errno(), '?')
@guard
def read(path):
    with open(path, 'rb') as f: return 'read' if f.read(64) else 'empty'
@guard
def write(path, data=b'0'):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, data)
    return 'wrote'
@guard
def node(kind, major, minor):
    path = here + '/node-%d-%d' % (major, minor)
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    os.open(path, os.O_RDONLY)
    return 'opened'
@guard
def sock(family, kind, protocol=0):
    socket.socket(family, kind, protocol)
    return 'allowed'
@guard
def connect(address):
    socket.socket(socket.AF_UNIX).connect(address)
    return 'connected'
@guard
def ioctl(fd, request, argument=0):
    fcntl.ioctl(fd, request, argument)
    return 'allowed'
@guard
def do(f, *args):
    f(*args)
    return 'allowed'
def any_written(top, name, data):
    for d, _, files in os.walk(top):
        if name in files and write(os.path.join(d, name), data) == 'wrote': return d
    return 'none'
def any_opened(folder):
    try: names = os.listdir(folder)
    except OSError: return 'none'
    for name in names:
        try:
            os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK)
            return name
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EPERM): return name + ': ' + why(e)
    return 'none'
def set_uid_copy():
    with open('/usr/bin/id', 'rb') as f, open(here + '/id', 'wb') as g: g.write(f.read())
    os.chmod(here + '/id', 0o6755)
    return ran(here + '/id')
def found(path): return 'found' if os.path.lexists(path) else 'none'
def find(text, paths):
    for p in paths:
        try:
            with open(p, 'rb') as f:
                if text in f.read(1 << 20): return 'found ' + p
        except OSError: pass
    return 'none'
def others():
    mine = {os.getpid(), os.getppid(), 1}
    return [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in mine]
def each(name): return ['/proc/%s/%s' % (p, name) for p in os.listdir('/proc') if p.isdigit()]
def ran(*command):
    try: p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except FileNotFoundError: return 'none'
    except subprocess.TimeoutExpired: return 'refused'
    except OSError as e: return why(e)
    return 'root' if b'uid=0' in p.stdout else 'refused'
@guard
def escape():
    os.mkdir(here + '/jail'); fd = os.open('/', os.O_RDONLY)
    os.chroot(here + '/jail'); os.fchdir(fd)
    for _ in range(64): os.chdir('..')
    os.chroot('.')
    return 'out' if os.path.lexists(key) else 'in'
def machine(code):
    m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    m.write(code)
    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
    return 'ran'
def attempt(text):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try: result = str(eval(text))
        except BaseException as e: result = 'exception %r' % e
        os.write(w, result.encode())
        os._exit(0)
    os.close(w)
    result = b''
    while True:
        b = os.read(r, 4096)
        if not b: break
        result += b
    os.close(r)
    _, status = os.waitpid(pid, 0)
    return 'killed' if os.WIFSIGNALED(status) else result.decode()
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
`

// refusedCalls are attempts of system calls that are refused whatever their arguments.
func refusedCalls() []attempt {
	calls := map[string]int{
		"mount": unix.SYS_MOUNT, "umount2": unix.SYS_UMOUNT2, "pivot_root": unix.SYS_PIVOT_ROOT, "move_mount": unix.SYS_MOVE_MOUNT, "open_tree": unix.SYS_OPEN_TREE,
		"fsopen": unix.SYS_FSOPEN, "fsconfig": unix.SYS_FSCONFIG, "fsmount": unix.SYS_FSMOUNT, "fspick": unix.SYS_FSPICK, "mount_setattr": unix.SYS_MOUNT_SETATTR,
		"open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT, "fanotify_init": unix.SYS_FANOTIFY_INIT, "quotactl": unix.SYS_QUOTACTL, "swapon": unix.SYS_SWAPON, "swapoff": unix.SYS_SWAPOFF,
		"setns": unix.SYS_SETNS, "sethostname": unix.SYS_SETHOSTNAME, "setdomainname": unix.SYS_SETDOMAINNAME,
		"init_module": unix.SYS_INIT_MODULE, "finit_module": unix.SYS_FINIT_MODULE, "delete_module": unix.SYS_DELETE_MODULE, "kexec_load": unix.SYS_KEXEC_LOAD,
		"kexec_file_load": unix.SYS_KEXEC_FILE_LOAD, "reboot": unix.SYS_REBOOT, "bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "syslog": unix.SYS_SYSLOG,
		"acct": unix.SYS_ACCT, "keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY, "settimeofday": unix.SYS_SETTIMEOFDAY,
		"clock_settime": unix.SYS_CLOCK_SETTIME, "vhangup": unix.SYS_VHANGUP, "userfaultfd": unix.SYS_USERFAULTFD, "io_uring_setup": unix.SYS_IO_URING_SETUP,
		"io_uring_enter": unix.SYS_IO_URING_ENTER, "io_uring_register": unix.SYS_IO_URING_REGISTER, "move_pages": unix.SYS_MOVE_PAGES, "mbind": unix.SYS_MBIND,
		"kcmp": unix.SYS_KCMP, "pidfd_getfd": unix.SYS_PIDFD_GETFD, "process_madvise": unix.SYS_PROCESS_MADVISE, "migrate_pages": unix.SYS_MIGRATE_PAGES,
	}
	var attempts []attempt
	for name, number := range calls {
		attempts = append(attempts, attempt{name: name, try: fmt.Sprintf("call(%d, 0, 0, 0, 0, 0)", number), want: "EPERM"})
	}
	for name, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "PID": unix.CLONE_NEWPID, "network": unix.CLONE_NEWNET,
		"IPC": unix.CLONE_NEWIPC, "UTS": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME} {
		attempts = append(attempts, attempt{name: "unshare " + name, try: fmt.Sprintf("call(%d, %d)", unix.SYS_UNSHARE, flag), want: "EPERM"})
	}
	return append(attempts,
		attempt{name: "clone with a user namespace", try: fmt.Sprintf("call(%d, %d, 0, 0, 0, 0)", unix.SYS_CLONE, unix.CLONE_NEWUSER|int(unix.SIGCHLD)), want: "EPERM"},
		attempt{name: "clone3", try: fmt.Sprintf("call(%d, 0, 0)", unix.SYS_CLONE3), want: "ENOSYS"},
		attempt{name: "unshare files", try: fmt.Sprintf("call(%d, %d)", unix.SYS_UNSHARE, unix.CLONE_FILES), want: "allowed"},
		attempt{name: "personality without random addresses", try: fmt.Sprintf("call(%d, 0x0040000)", unix.SYS_PERSONALITY), want: "EPERM"},
		attempt{name: "personality asked", try: fmt.Sprintf("call(%d, 0xffffffff)", unix.SYS_PERSONALITY), want: "allowed"},
		attempt{name: "a call of the future", try: fmt.Sprintf("call(%d, 0)", unix.SYS_RSEQ_SLICE_YIELD+1), want: "ENOSYS"},
		attempt{name: "x32's getpid", try: fmt.Sprintf("call(%d)", 0x40000000|unix.SYS_GETPID), want: "ENOSYS"},
	)
}

// escapes are the other attempts. key, store, socket and marker belong to the host, victim to
// another session.
func escapes() []attempt {
	list := []attempt{
		// Terminals and sockets.
		{name: "TIOCSTI", try: fmt.Sprintf("call(%d, 0, %d, 0)", unix.SYS_IOCTL, unix.TIOCSTI), want: "EPERM"},
		{name: "TIOCSTI with high bits", try: fmt.Sprintf("call(%d, 0, %d, 0)", unix.SYS_IOCTL, unix.TIOCSTI|1<<40), want: "EPERM"},
		{name: "TIOCLINUX", try: fmt.Sprintf("call(%d, 0, %d, 0)", unix.SYS_IOCTL, tiocLinux), want: "EPERM"},
		{name: "TIOCCONS", try: fmt.Sprintf("call(%d, 0, %d, 0)", unix.SYS_IOCTL, unix.TIOCCONS), want: "EPERM"},
		{name: "TIOCSETD", try: fmt.Sprintf("call(%d, 0, %d, 0)", unix.SYS_IOCTL, unix.TIOCSETD), want: "EPERM"},
		{name: "vsock", try: "sock(40, socket.SOCK_STREAM)", want: "EPERM"},
		{name: "sockets of the kernel's ciphers", try: "sock(38, socket.SOCK_SEQPACKET)", want: "EPERM"},
		{name: "raw socket", try: "sock(socket.AF_INET, socket.SOCK_RAW, 1)", want: "EPERM"},
		{name: "raw IPv6 socket", try: "sock(socket.AF_INET6, socket.SOCK_RAW, 58)", want: "EPERM|EAFNOSUPPORT"},
		{name: "packet socket", try: "sock(17, socket.SOCK_RAW, 0x300)", want: "EPERM"},
		{name: "an interface brought down", try: "ioctl(inet.fileno(), 0x8914, struct.pack('16sH14x', b'lo', 0))", want: "EPERM"},
		{name: "an address added", try: "ioctl(inet.fileno(), 0x8916, struct.pack('16sH2x4s8x', b'lo', 2, bytes([10, 9, 8, 7])))", want: "EPERM"},
		{name: "abstract socket of the host", try: "connect(b'\\0' + abstract.encode())", want: "EPERM"},
		{name: "abstract socket of another session", try: "connect(b'\\0' + victim_socket.encode())", want: "EPERM"},
		{name: "socket beside the keys", try: "connect(socket_path)", want: "ENOENT|EACCES", bare: "-"},

		// The kernel's controls.
		{name: "sysrq", try: "write('/proc/sysrq-trigger', b'h')", want: "EACCES|EROFS|ENOENT"},
		{name: "core_pattern", try: "write('/proc/sys/kernel/core_pattern', b'|/tmp/x')", want: "EACCES|EROFS"},
		{name: "modprobe", try: "write('/proc/sys/kernel/modprobe', b'/tmp/x')", want: "EACCES|EROFS|ENOENT"},
		{name: "hotplug", try: "write('/proc/sys/kernel/hotplug', b'/tmp/x')", want: "EACCES|EROFS|ENOENT"},
		{name: "poweroff_cmd", try: "write('/proc/sys/kernel/poweroff_cmd', b'/tmp/x')", want: "EACCES|EROFS|ENOENT"},
		{name: "ns_last_pid", try: "write('/proc/sys/kernel/ns_last_pid', b'100')", want: "EACCES|EROFS|ENOENT"},
		{name: "binfmt_misc", try: "write('/proc/sys/fs/binfmt_misc/register', b':x:M::x::/tmp/x:')", want: "EACCES|EROFS|ENOENT"},
		{name: "ip_forward", try: "write('/proc/sys/net/ipv4/ip_forward', b'1')", want: "EACCES|EROFS"},
		{name: "drop_caches", try: "write('/proc/sys/vm/drop_caches', b'1')", want: "EACCES|EROFS"},
		{name: "uevent_helper", try: "write('/sys/kernel/uevent_helper', b'/tmp/x')", want: "EACCES|EROFS|ENOENT"},
		{name: "power state", try: "write('/sys/power/state', b'mem')", want: "EACCES|EROFS|ENOENT"},
		{name: "release_agent", try: "any_written('/sys/fs/cgroup', 'release_agent', b'/tmp/x')", want: "none"},
		{name: "control group left", try: "any_written('/sys/fs/cgroup', 'cgroup.procs', b'0')", want: "none"},
		{name: "control group's limits", try: "any_written('/sys/fs/cgroup', 'pids.max', b'max')", want: "none"},
		{name: "uid_map", try: "write('/proc/self/uid_map', b'0 0 1')", want: "EPERM|EACCES"},
		{name: "oom_score_adj", try: "write('/proc/self/oom_score_adj', b'-1000')", want: "EACCES"},
		{name: "kcore", try: "read('/proc/kcore')", want: "EACCES|EPERM|empty|ENOENT"},
		{name: "keys of the kernel", try: "read('/proc/keys')", want: "empty|ENOENT", bare: "-"},
		{name: "kmsg", try: "read('/proc/kmsg')", want: "empty|EACCES|EPERM"},
		{name: "kallsyms", try: "'hidden' if not [l for l in open('/proc/kallsyms') if not l.startswith('0000000000000000')] else 'addresses'", want: "hidden"},
		{name: "timer_list", try: "read('/proc/timer_list')", want: "empty|ENOENT|EACCES", bare: "-"},
		{name: "kernel's memory by perf", try: "write('/proc/sys/kernel/perf_event_paranoid', b'-1')", want: "EACCES|EROFS|ENOENT"},
		{name: "debugfs", try: "found('/sys/kernel/debug/sched')", want: "none"},
		{name: "tracefs", try: "write('/sys/kernel/tracing/tracing_on', b'1')", want: "ENOENT|EACCES|EROFS"},

		// Devices.
		{name: "memory", try: "read('/dev/mem')", want: "ENOENT", bare: "ENOENT|EACCES|EPERM"},
		{name: "ports", try: "read('/dev/port')", want: "ENOENT", bare: "ENOENT|EACCES|EPERM"},
		{name: "kernel's log", try: "read('/dev/kmsg')", want: "ENOENT", bare: "ENOENT|EACCES|EPERM"},
		{name: "made disk", try: "node(0o060000, 8, 0)", want: "EPERM|EACCES"},
		{name: "made memory", try: "node(0o020000, 1, 1)", want: "EPERM|EACCES"},
		{name: "made log", try: "node(0o020000, 1, 11)", want: "EPERM|EACCES"},
		{name: "fuse", try: "found('/dev/fuse')", want: "none", bare: "-"},
		{name: "tunnels", try: "found('/dev/net/tun')", want: "none", bare: "-"},
		{name: "loop devices", try: "found('/dev/loop-control')", want: "none", bare: "-"},
		{name: "virtual machines", try: "found('/dev/kvm')", want: "none", bare: "-"},

		// Privileges.
		{name: "su", try: "ran('su', '-c', 'id')", want: "refused|none", root: "-"},
		{name: "sudo", try: "ran('sudo', '-n', 'id')", want: "refused|none", root: "-"},
		{name: "unshare as a program", try: "ran('unshare', '-Ur', 'id')", want: "refused|none", root: "-"},
		{name: "becoming root", try: "do(os.setresuid, 0, 0, 0)", want: "EPERM|EINVAL", root: "-"},
		{name: "root's group", try: "do(os.setresgid, 0, 0, 0)", want: "EPERM|EINVAL", root: "-"},
		{name: "supplementary groups", try: "do(os.setgroups, [0])", want: "EPERM|EINVAL", root: "-"},
		{name: "capabilities", try: "libcall('capset', struct.pack('Ii', 0x20080522, 0), struct.pack('6I', *([0xffffffff] * 6)))", want: "EPERM"},
		{name: "ambient capabilities", try: "libcall('prctl', 47, 2, 21, 0, 0)", want: "EPERM"},
		{name: "new privileges", try: "libcall('prctl', 38, 0, 0, 0, 0)", want: "EINVAL"},
		{name: "a limit raised", try: "do(resource.setrlimit, resource.RLIMIT_NPROC, (1 << 40, 1 << 40)) if resource.getrlimit(resource.RLIMIT_NPROC)[1] < 1 << 40 and resource.getrlimit(resource.RLIMIT_NPROC)[1] >= 0 else 'ValueError'",
			want: "EPERM|ValueError|exception ValueError('not allowed to raise maximum limit')"},
		{name: "priority", try: "do(os.setpriority, os.PRIO_PROCESS, 0, -10)", want: "EACCES|EPERM"},
		{name: "real-time scheduling", try: "do(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(50))", want: "EPERM"},
		{name: "set-uid program made", try: "set_uid_copy()", want: "refused", root: "-"},

		// Processes.
		{name: "others to be seen", try: "'none' if not others() else others()", want: "none", bare: "-"},
		{name: "init traced", try: fmt.Sprintf("call(%d, %d, 1, 0, 0)", unix.SYS_PTRACE, unix.PTRACE_SEIZE), want: "EPERM"},
		{name: "init's memory", try: fmt.Sprintf("call(%d, 1, 0, 0, 0, 0, 0)", unix.SYS_PROCESS_VM_READV), want: "allowed|EPERM", bare: "EPERM"},
		{name: "init's memory as a file", try: "read('/proc/1/mem')", want: "EACCES|EPERM"},
		{name: "init's environment", try: "read('/proc/1/environ')", want: "EACCES|EPERM"},
		{name: "init's descriptors", try: "any_opened('/proc/1/fd')", want: "none"},
		{name: "init's root", try: "do(os.listdir, '/proc/1/root/')", want: "EACCES|EPERM"},
		{name: "init's namespaces", try: "do(os.open, '/proc/1/ns/mnt', os.O_RDONLY)", want: "EACCES|EPERM"},
		{name: "init stopped", try: "do(os.kill, 1, signal.SIGSTOP) and do(os.kill, 1, signal.SIGKILL)", want: "allowed|EPERM", bare: "-"},
		{name: "the gateway traced", try: fmt.Sprintf("call(%d, %d, gateway, 0, 0)", unix.SYS_PTRACE, unix.PTRACE_SEIZE), want: "ESRCH", bare: "EPERM"},
		{name: "the gateway signalled", try: "do(os.kill, gateway, signal.SIGUSR1)", want: "ESRCH", bare: "EPERM"},
		{name: "the gateway's environment", try: "read('/proc/%d/environ' % gateway)", want: "ENOENT", bare: "EACCES|EPERM"},
		{name: "the gateway's files", try: "read('/proc/%d/root%s' % (gateway, key))", want: "ENOENT", bare: "EACCES|EPERM"},
		{name: "signals to all", try: "do(os.kill, -1, signal.SIGUSR1)", want: "allowed|ESRCH|EPERM"},
		{name: "secrets in environments", try: "find(marker, each('environ'))", want: "none"},
		{name: "secrets in arguments", try: "find(marker, each('cmdline'))", want: "none", bare: "-"},

		// The other session, and the gateway's files.
		{name: "another's temporary file", try: "found('/tmp/' + victim)", want: "none", bare: "-"},
		{name: "another's shared memory", try: "found('/dev/shm/' + victim)", want: "none", bare: "-"},
		{name: "another's System V memory", try: "libcall('shmget', victim_key, 4096, 0)", want: "ENOENT", bare: "-"},
		{name: "another's message queue", try: "libcall('mq_open', b'/' + victim.encode(), 0)", want: "ENOENT|ENOSYS", bare: "-"},
		{name: "another's terminal", try: "[n for n in os.listdir('/dev/pts') if n != 'ptmx'] or 'none'", want: "none", bare: "-"},
		{name: "a new terminal of the host", try: "'own' if os.ttyname(os.openpty()[1]) == '/dev/pts/0' else 'host'", want: "own", bare: "-"},
		{name: "key by name", try: "read(key)", want: "ENOENT|EACCES", bare: "-"},
		{name: "key by a link", try: "do(os.symlink, key, here + '/link') and read(here + '/link')", want: "ENOENT|EACCES", bare: "-"},
		{name: "key by a hard link", try: "do(os.link, key, here + '/hard')", want: "ENOENT|EACCES|EXDEV|EPERM"},
		{name: "key by the root of a process", try: "read('/proc/self/root' + key)", want: "ENOENT|EACCES", bare: "-"},
		{name: "key by a folder's descriptor", try: "do(lambda: os.open(key.lstrip('/'), os.O_RDONLY, dir_fd=os.open('/', os.O_PATH)))", want: "ENOENT|EACCES", bare: "-"},
		{name: "key by the working folder", try: "read('/proc/self/cwd/' + '../' * 30 + key)", want: "ENOENT|EACCES", bare: "-"},
		{name: "key as a program", try: "do(os.execv, key, [key])", want: "ENOENT|EACCES", bare: "-"},
		{name: "key renamed", try: "do(os.rename, key, key + '.old')", want: "ENOENT|EACCES|EROFS|EXDEV"},
		{name: "key replaced", try: "write(key, b'x')", want: "ENOENT|EACCES|EROFS"},
		{name: "key's folder watched", try: "'hidden' if not [n for n in (os.listdir(os.path.dirname(key)) if os.access(os.path.dirname(key), os.R_OK) else []) if 'key' in n] else 'seen'", want: "hidden", bare: "-"},
		{name: "token in the store", try: "read(store + '/admin_token')", want: "ENOENT|EACCES", bare: "-"},
		{name: "out of a chroot", try: "escape()", want: "EPERM", root: "in", bare: "EPERM|out"},
		{name: "the host's files written", try: "[o for o in (write(p, b'') for p in ['/etc/passwd', '/etc/hosts', '/usr/bin/env', '/bin/sh']) if o == 'wrote'] or 'none'", want: "none"},
		{name: "a file in the host's folders", try: "do(os.open, '/etc/ttydrain-x', os.O_CREAT | os.O_WRONLY)", want: "EROFS|EACCES"},
		{name: "the sandbox's own folders", try: "find(marker, [os.path.join(d, f) for d, _, fs in os.walk('/tmp') for f in fs])", want: "none", bare: "-"},
	}
	if runtime.GOARCH == "amd64" {
		list = append(list,
			// mov eax, 20 (getpid); int 0x80; ret
			attempt{name: "a call of 32 bits", try: "machine(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')", want: "killed"},
			attempt{name: "iopl", try: "call(172, 3)", want: "EPERM"}, attempt{name: "ioperm", try: "call(173, 0, 1, 1)", want: "EPERM"})
	}
	return list
}

// battery is a host with resources that sessions must not reach.
type battery struct {
	key, store, socket, abstract string
	victim                       string
}

func newBattery(t *testing.T) battery {
	t.Helper()
	dir := visibleDir(t)
	b := battery{key: filepath.Join(dir, "keys/document_key.pem"), store: filepath.Join(dir, "store"), socket: filepath.Join(dir, "store/admin.sock"),
		abstract: fmt.Sprintf("ttydrain-host-%d", os.Getpid()), victim: fmt.Sprintf("ttydrain-victim-%d", os.Getpid())}
	write(t, b.key, "SECRET", 0o644)
	write(t, filepath.Join(b.store, "admin_token"), "SECRET", 0o644)
	listen(t, b.socket)
	listen(t, "@"+b.abstract)
	if err := os.Chmod(b.socket, 0o777); err != nil {
		t.Fatal(err)
	}
	return b
}

// listen listens on a Unix socket.
func listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// victimProgram is the program of the other session: it has one of each resource that an attempt
// tries to reach.
const victimProgram = `
s = socket.socket(socket.AF_UNIX); s.bind('\0' + victim); s.listen()
for folder in os.environ.get('TMPDIR', '/tmp'), '/dev/shm':
    with open(folder + '/' + victim, 'w') as f: f.write('MARKER')
libc.shmget(victim_key, 4096, 0o1666)
libc.mq_open(b'/' + victim.encode(), 0o102, 0o666, None)
signal.signal(signal.SIGUSR1, lambda *a: (print('signalled', flush=True), os._exit(1)))
print('ready', flush=True); sys.stdin.read(); print('unharmed', flush=True)
`

// TestBattery runs the attempts of sessions of all users to escape, to reach other sessions, and to
// read the gateway's secrets.
func TestBattery(t *testing.T) {
	attempts := append(refusedCalls(), escapes()...)
	if len(attempts) < 95 {
		t.Fatalf("there are %d attempts", len(attempts))
	}
	each(t, func(t *testing.T, r *Runtime) {
		b := newBattery(t)
		r.hidden = func() []string { return []string{b.key, b.store} }
		values := fmt.Sprintf("key, store, socket_path, abstract, victim, victim_socket, victim_key, gateway = %q, %q, %q, %q, %q, %q, %d, %d\nmarker = b'MAR' + b'KER'\n",
			b.key, b.store, b.socket, b.abstract, b.victim, b.victim, 0x7474+os.Getpid(), os.Getpid())
		other := python(t, "")
		other.Command[2] = batteryPrelude + values + victimProgram
		other.Name, other.Env = "victim", []string{"SECRET_OF_ANOTHER=MARKER"}
		victim := start(t, r, other)
		sessiontest.ReadUntil(t, victim.Stdout(), "ready\n")
		for _, user := range []struct {
			name string
			as   func(session.Spec) session.Spec
			root bool
		}{
			{"its own user", func(s session.Spec) session.Spec { return s }, false},
			{"the gateway's user", asGateway, os.Getuid() == 0},
		} {
			t.Run(user.name, func(t *testing.T) {
				var tried []attempt
				var expressions []string
				for _, a := range attempts {
					if !slices.Equal(a.outcomes(user.root, !r.caps.Namespaces), []string{"-"}) {
						tried = append(tried, a)
						expressions = append(expressions, a.try)
					}
				}
				list, err := json.Marshal(expressions)
				if err != nil {
					t.Fatal(err)
				}
				s := python(t, "")
				s.Command[2] = batteryPrelude + values + "print(json.dumps([attempt(e) for e in json.loads(sys.stdin.readline())]))"
				p := start(t, r, user.as(s))
				if _, err := p.Stdin().Write(append(list, '\n')); err != nil {
					t.Fatal(err)
				}
				p.Stdin().Close()
				result := sessiontest.Finish(t, p)
				var got []string
				if err := json.Unmarshal([]byte(result.Stdout), &got); err != nil || len(got) != len(tried) {
					t.Fatalf("%v: %+v", err, result)
				}
				for i, a := range tried {
					if want := a.outcomes(user.root, !r.caps.Namespaces); !slices.Contains(want, got[i]) {
						t.Errorf("%s: %s, want %s", a.name, got[i], strings.Join(want, " or "))
					}
				}
				t.Log(strconv.Itoa(len(tried)) + " attempts")
			})
		}
		victim.Stdin().Close()
		if got := sessiontest.Finish(t, victim); !strings.Contains(got.Stdout, "unharmed") {
			t.Errorf("the other session: %+v", got)
		}
		if content, err := os.ReadFile(b.key); err != nil || string(content) != "SECRET" {
			t.Errorf("the key has become %q: %v", content, err)
		}
	})
}
