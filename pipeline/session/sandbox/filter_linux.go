//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/seccomp"
)

// lastSyscall is the last system call that was known when this filter was written. Later ones do
// not exist for a session (ENOSYS): what they do, nobody has looked at.
const lastSyscall = unix.SYS_RSEQ_SLICE_YIELD

// filterInstruction is an instruction of a filter; it has exported fields only, so that gob takes
// it.
type filterInstruction = linux.BPFInstruction

// refusedSyscalls are the calls that are refused (EPERM) on every architecture: what container
// engines refuse a container without capabilities.
func refusedSyscalls() []uintptr {
	return []uintptr{
		// Mounts, and other ways into files than by their names.
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
		unix.SYS_OPEN_TREE_ATTR, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
		unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_QUOTACTL,
		unix.SYS_QUOTACTL_FD, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
		// Namespaces.
		unix.SYS_SETNS, unix.SYS_LISTNS, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
		// The kernel itself: its code, its log, its keys, its clocks.
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_SYSLOG,
		unix.SYS_ACCT, unix.SYS_NFSSERVCTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
		unix.SYS_REQUEST_KEY, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_VHANGUP,
		unix.SYS_LSM_SET_SELF_ATTR,
		// What holes in the kernel have been exploited with most.
		unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES, unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY,
		unix.SYS_SET_MEMPOLICY_HOME_NODE, unix.SYS_KCMP,
		// Other processes' memory and files.
		unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE,
	}
}

// newNamespaces are the flags of clone(2) and unshare(2) that make a namespace.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// whole compares the 32 bits that the kernel looks at: what is above them would hide a value from a
// comparison of all 64.
func whole(value uintptr) seccomp.ValueMatcher { return seccomp.MaskedEqual(0xffffffff, value) }

// conditionalSyscalls are the calls that are allowed with these arguments only.
func conditionalSyscalls(ownProcesses bool) map[uintptr]seccomp.SyscallRule {
	rules := map[uintptr]seccomp.SyscallRule{
		unix.SYS_CLONE:   seccomp.PerArg{seccomp.MaskedEqual(newNamespaces&^unix.CLONE_NEWTIME, 0)}, // there NEWTIME is a part of the signal
		unix.SYS_UNSHARE: seccomp.PerArg{seccomp.MaskedEqual(newNamespaces, 0)},
		// What docker's profile allows: Linux and SVR4-like personalities, and to ask.
		unix.SYS_PERSONALITY: seccomp.Or{
			seccomp.PerArg{whole(0)}, seccomp.PerArg{whole(0x0008)}, seccomp.PerArg{whole(0x20000)},
			seccomp.PerArg{whole(0x20008)}, seccomp.PerArg{whole(0xffffffff)},
		},
	}
	if !ownProcesses {
		// The host's processes are in sight: no tracing, but for how the init sets a command's limit.
		rules[unix.SYS_PTRACE] = seccomp.Or{
			seccomp.PerArg{seccomp.EqualTo(unix.PTRACE_TRACEME)}, seccomp.PerArg{seccomp.EqualTo(unix.PTRACE_DETACH)},
		}
		rules[unix.SYS_PROCESS_VM_READV] = nil
		rules[unix.SYS_PROCESS_VM_WRITEV] = nil
	}
	return rules
}

// refusedArguments are the arguments with which calls are refused that are allowed otherwise.
func refusedArguments() map[uintptr]seccomp.SyscallRule {
	any := seccomp.AnyValue{}
	return map[uintptr]seccomp.SyscallRule{
		// Typing into the terminal for somebody else, and the console's clipboard.
		unix.SYS_IOCTL: seccomp.Or{
			seccomp.PerArg{any, whole(unix.TIOCSTI)}, seccomp.PerArg{any, whole(tiocLinux)},
			seccomp.PerArg{any, whole(unix.TIOCCONS)}, seccomp.PerArg{any, whole(unix.TIOCSETD)},
		},
		unix.SYS_SOCKET:     seccomp.Or{seccomp.PerArg{whole(unix.AF_VSOCK)}, seccomp.PerArg{whole(unix.AF_ALG)}},
		unix.SYS_SOCKETPAIR: seccomp.Or{seccomp.PerArg{whole(unix.AF_VSOCK)}, seccomp.PerArg{whole(unix.AF_ALG)}},
	}
}

const tiocLinux = 0x541c // TIOCLINUX of ioctl_console(2)

// newFilter makes the filter of system calls. ownProcesses: the session sees none but its own, and
// may trace these.
func newFilter(ownProcesses bool) ([]filterInstruction, error) {
	refused := seccomp.MakeSyscallRules(nil)
	allowed := seccomp.MakeSyscallRules(nil)
	absent := seccomp.MakeSyscallRules(nil)
	decided := make(map[uintptr]bool)

	for _, number := range append(refusedSyscalls(), refusedOnArchitecture()...) {
		refused.Set(number, seccomp.MatchAll{})
		decided[number] = true
	}
	for number, rule := range conditionalSyscalls(ownProcesses) {
		if rule != nil {
			allowed.Set(number, rule)
		}
		refused.Set(number, seccomp.MatchAll{})
		decided[number] = true
	}
	// Its flags are in memory, where a filter cannot look; libraries then use clone.
	absent.Set(unix.SYS_CLONE3, seccomp.MatchAll{})
	decided[unix.SYS_CLONE3] = true
	refusedFirst := seccomp.MakeSyscallRules(refusedArguments())
	for number := uintptr(0); number <= lastSyscall; number++ {
		if !decided[number] {
			allowed.Set(number, seccomp.MatchAll{})
		}
	}
	program := seccomp.Program{
		RuleSets: []seccomp.RuleSet{
			{Rules: refusedFirst, Action: seccomp.ReturnError.Code(uint16(unix.EPERM))},
			{Rules: absent, Action: seccomp.ReturnError.Code(uint16(unix.ENOSYS))},
			{Rules: allowed, Action: seccomp.Allow},
			{Rules: refused, Action: seccomp.ReturnError.Code(uint16(unix.EPERM))},
		},
		Options: seccomp.ProgramOptions{
			// A program for another architecture could do nothing but misbehave.
			BadArchAction: seccomp.KillProcess,
			DefaultAction: seccomp.ReturnError.Code(uint16(unix.ENOSYS)),
		},
	}
	instructions, _, err := program.Build()
	if err != nil {
		return nil, fmt.Errorf("making the filter of system calls: %w", err)
	}
	filter := make([]filterInstruction, len(instructions))
	for i, instruction := range instructions {
		filter[i] = filterInstruction(instruction)
	}
	return filter, nil
}

// installFilter filters the system calls of this thread and of all that it starts, for good. The
// init's other threads are not filtered: they hide files that become private later.
func installFilter(filter []filterInstruction) error {
	if len(filter) == 0 {
		return errors.New("there is no filter of system calls")
	}
	if err := noNewPrivileges(); err != nil {
		return err
	}
	program := linux.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("filtering system calls: %w", errno)
	}
	return nil
}
