//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// lastSyscall is the last system call that was known when this filter was written. Later ones do
// not exist for a session (ENOSYS), since their effects are not known.
const lastSyscall = unix.SYS_RSEQ_SLICE_YIELD

// filterInstruction is an instruction of a filter. It has exported fields only, which gob needs.
type filterInstruction = unix.SockFilter

// refusedSyscalls are the calls that are refused (EPERM) on every architecture: what container
// engines refuse a container without capabilities.
func refusedSyscalls() []uint32 {
	return []uint32{
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

// A condition holds for a call whose argument has this value in the bits of the mask.
type condition struct {
	argument    uint32 // from 0
	mask, value uint64
}

// whole compares the 32 bits that the kernel looks at: bits above them would hide a value from a
// comparison of all 64.
func whole(argument, value uint32) condition { return condition{argument, 1<<32 - 1, uint64(value)} }

// exactly compares all 64 bits.
func exactly(argument uint32, value uint64) condition { return condition{argument, 1<<64 - 1, value} }

// conditionalSyscalls are the calls that are allowed where one of the conditions holds.
func conditionalSyscalls(ownProcesses bool) map[uint32][]condition {
	rules := map[uint32][]condition{
		unix.SYS_CLONE:   {{0, newNamespaces &^ unix.CLONE_NEWTIME, 0}}, // there NEWTIME is a part of the signal
		unix.SYS_UNSHARE: {{0, newNamespaces, 0}},
		// What docker's profile allows: Linux and SVR4-like personalities, and to ask.
		unix.SYS_PERSONALITY: {whole(0, 0), whole(0, 0x0008), whole(0, 0x20000), whole(0, 0x20008), whole(0, 0xffffffff)},
	}
	if !ownProcesses {
		// The host's processes are in sight: no tracing, but for how the init sets a command's limit.
		rules[unix.SYS_PTRACE] = []condition{exactly(0, unix.PTRACE_TRACEME), exactly(0, unix.PTRACE_DETACH)}
		rules[unix.SYS_PROCESS_VM_READV] = nil
		rules[unix.SYS_PROCESS_VM_WRITEV] = nil
	}
	return rules
}

// refusedArguments are the arguments with which calls are refused that are allowed otherwise.
func refusedArguments() map[uint32][]condition {
	return map[uint32][]condition{
		// Input into the terminal of another user, and the console's clipboard.
		unix.SYS_IOCTL:      {whole(1, unix.TIOCSTI), whole(1, tiocLinux), whole(1, unix.TIOCCONS), whole(1, unix.TIOCSETD)},
		unix.SYS_SOCKET:     {whole(0, unix.AF_VSOCK), whole(0, unix.AF_ALG)},
		unix.SYS_SOCKETPAIR: {whole(0, unix.AF_VSOCK), whole(0, unix.AF_ALG)},
	}
}

const tiocLinux = 0x541c // TIOCLINUX of ioctl_console(2)

// Offsets in the kernel's struct seccomp_data, which a filter reads, on little-endian machines.
const (
	offsetNumber   = 0
	offsetArch     = 4
	offsetArgument = 16 // of the first one's lower half; each has 8 bytes
)

// Actions of a filter.
const (
	actionAllow  = unix.SECCOMP_RET_ALLOW
	actionKill   = unix.SECCOMP_RET_KILL_PROCESS
	actionRefuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	actionAbsent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// newFilter returns the filter of system calls. ownProcesses means that the session sees its own
// processes alone, and may trace these.
//
// It is a chain of comparisons with one number each: Linux (from 5.11 on) finds out once which
// numbers are allowed whatever their arguments are, and does not run the filter for those.
func newFilter(ownProcesses bool) ([]filterInstruction, error) {
	raw, err := bpf.Assemble(filterProgram(ownProcesses))
	if err != nil {
		return nil, fmt.Errorf("making the filter of system calls: %w", err)
	}
	filter := make([]filterInstruction, len(raw))
	for i, r := range raw {
		filter[i] = filterInstruction{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}

// filterProgram returns the instructions of newFilter.
func filterProgram(ownProcesses bool) (p program) {
	p.add(bpf.LoadAbsolute{Off: offsetArch, Size: 4})
	p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1})
	p.returns(actionKill) // a program for another architecture could do nothing but misbehave
	p.add(bpf.LoadAbsolute{Off: offsetNumber, Size: 4})
	p.add(bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastSyscall, SkipFalse: 1})
	p.returns(actionAbsent)
	// Its flags are in memory, where a filter cannot look; libraries then use clone.
	p.call(unix.SYS_CLONE3, nil, 0, actionAbsent)
	for _, number := range append(refusedSyscalls(), refusedOnArchitecture()...) {
		p.call(number, nil, 0, actionRefuse)
	}
	refused, allowed := refusedArguments(), conditionalSyscalls(ownProcesses)
	for _, number := range slices.Sorted(maps.Keys(refused)) {
		p.call(number, refused[number], actionRefuse, actionAllow)
	}
	for _, number := range slices.Sorted(maps.Keys(allowed)) {
		p.call(number, allowed[number], actionAllow, actionRefuse)
	}
	p.returns(actionAllow)
	return p
}

// A program is a filter that is being made. Up to each call of call, the number of the system call
// is loaded.
type program []bpf.Instruction

func (p *program) add(i bpf.Instruction) { *p = append(*p, i) }

func (p *program) returns(action uint32) { p.add(bpf.RetConstant{Val: action}) }

// call returns an action for a system call: then where one of the conditions holds, otherwise the
// other one.
func (p *program) call(number uint32, conditions []condition, then, otherwise uint32) {
	var block program
	for _, c := range conditions {
		block.test(c, then)
	}
	block.returns(otherwise)
	p.add(bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(block))})
	*p = append(*p, block...)
}

// test returns an action where the condition holds.
func (p *program) test(c condition, action uint32) {
	var low program
	low.half(offsetArgument+8*c.argument, uint32(c.mask), uint32(c.value), 1)
	low.returns(action)
	if high := uint32(c.mask >> 32); high != 0 {
		p.half(offsetArgument+8*c.argument+4, high, uint32(c.value>>32), uint8(len(low)))
	}
	*p = append(*p, low...)
}

// half compares 32 bits, and skips instructions where they differ.
func (p *program) half(offset, mask, value uint32, skip uint8) {
	p.add(bpf.LoadAbsolute{Off: offset, Size: 4})
	if mask != 1<<32-1 {
		p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
	}
	p.add(bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: skip})
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
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("filtering system calls: %w", errno)
	}
	return nil
}
