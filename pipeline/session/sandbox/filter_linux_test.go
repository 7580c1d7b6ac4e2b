//go:build amd64 || arm64

package sandbox

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestFilterActions runs the filter on system calls like the kernel.
func TestFilterActions(t *testing.T) {
	const high = 1 << 32 // a bit that the kernel ignores in arguments of 32 bits
	for _, test := range []struct {
		name string
		call uint32
		args [2]uint64
		want uint32 // for a session that sees the host's processes
		own  uint32 // for one that sees only its own; 0 for the same
	}{
		{"read", unix.SYS_READ, [2]uint64{}, actionAllow, 0},
		{"the last known call", lastSyscall, [2]uint64{}, actionAllow, 0},
		{"a call that is not known", lastSyscall + 1, [2]uint64{}, actionAbsent, 0},
		{"a call of the x32 ABI", 0x40000000 | unix.SYS_READ, [2]uint64{}, actionAbsent, 0},
		{"clone3", unix.SYS_CLONE3, [2]uint64{}, actionAbsent, 0},
		{"mount", unix.SYS_MOUNT, [2]uint64{}, actionRefuse, 0},
		{"bpf", unix.SYS_BPF, [2]uint64{}, actionRefuse, 0},
		{"clone of a thread", unix.SYS_CLONE, [2]uint64{unix.CLONE_VM | unix.CLONE_THREAD}, actionAllow, 0},
		{"clone with a namespace", unix.SYS_CLONE, [2]uint64{unix.CLONE_NEWUSER}, actionRefuse, 0},
		{"unshare of files", unix.SYS_UNSHARE, [2]uint64{unix.CLONE_FS}, actionAllow, 0},
		{"unshare of time", unix.SYS_UNSHARE, [2]uint64{unix.CLONE_NEWTIME}, actionRefuse, 0},
		{"personality, asked", unix.SYS_PERSONALITY, [2]uint64{0xffffffff}, actionAllow, 0},
		{"personality without random addresses", unix.SYS_PERSONALITY, [2]uint64{0x40000}, actionRefuse, 0},
		{"ioctl that types", unix.SYS_IOCTL, [2]uint64{0, unix.TIOCSTI}, actionRefuse, 0},
		{"ioctl that types, with a bit above", unix.SYS_IOCTL, [2]uint64{0, high | unix.TIOCSTI}, actionRefuse, 0},
		{"ioctl of a window's size", unix.SYS_IOCTL, [2]uint64{unix.TIOCSTI, unix.TIOCGWINSZ}, actionAllow, 0},
		{"socket of the internet", unix.SYS_SOCKET, [2]uint64{unix.AF_INET}, actionAllow, 0},
		{"socket to the host", unix.SYS_SOCKET, [2]uint64{high | unix.AF_VSOCK}, actionRefuse, 0},
		{"socket pair of the kernel's ciphers", unix.SYS_SOCKETPAIR, [2]uint64{unix.AF_ALG}, actionRefuse, 0},
		{"ptrace of itself", unix.SYS_PTRACE, [2]uint64{unix.PTRACE_TRACEME}, actionAllow, 0},
		{"ptrace of another", unix.SYS_PTRACE, [2]uint64{unix.PTRACE_ATTACH}, actionRefuse, actionAllow},
		{"ptrace with a bit above", unix.SYS_PTRACE, [2]uint64{high | unix.PTRACE_TRACEME}, actionRefuse, actionAllow},
		{"memory of others", unix.SYS_PROCESS_VM_READV, [2]uint64{}, actionRefuse, actionAllow},
	} {
		for _, own := range []bool{false, true} {
			want := test.want
			if own && test.own != 0 {
				want = test.own
			}
			if got := filtered(t, own, auditArch, test.call, test.args); got != want {
				t.Errorf("%s (own processes: %t): %#x, want %#x", test.name, own, got, want)
			}
		}
	}
	if got := filtered(t, true, unix.AUDIT_ARCH_I386, 1, [2]uint64{}); got != actionKill {
		t.Errorf("a call of another architecture: %#x", got)
	}
}

// filtered returns the action for a call with its first arguments.
func filtered(t *testing.T, own bool, arch, call uint32, args [2]uint64) uint32 {
	t.Helper()
	vm, err := bpf.NewVM(filterProgram(own))
	if err != nil {
		t.Fatal(err)
	}
	// The VM loads words as big-endian.
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offsetNumber:], call)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, arg := range args {
		binary.BigEndian.PutUint32(data[offsetArgument+8*i:], uint32(arg))
		binary.BigEndian.PutUint32(data[offsetArgument+8*i+4:], uint32(arg>>32))
	}
	action, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(action)
}
