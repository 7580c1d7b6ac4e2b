package sandbox

import "golang.org/x/sys/unix"

// refusedOnArchitecture are the calls that are refused beside refusedSyscalls: ports, and what old
// kernels had.
func refusedOnArchitecture() []uintptr {
	return []uintptr{
		unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL,
		unix.SYS_CREATE_MODULE, unix.SYS_QUERY_MODULE, unix.SYS_GET_KERNEL_SYMS,
	}
}
