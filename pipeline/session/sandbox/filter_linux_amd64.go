package sandbox

import "golang.org/x/sys/unix"

// auditArch is the architecture of system calls that are not refused as such.
const auditArch = unix.AUDIT_ARCH_X86_64

// refusedOnArchitecture are the calls that are refused beside refusedSyscalls: ports, and what old
// kernels had.
func refusedOnArchitecture() []uint32 {
	return []uint32{
		unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL,
		unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS,
	}
}
