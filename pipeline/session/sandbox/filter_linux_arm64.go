package sandbox

import "golang.org/x/sys/unix"

// auditArch is the architecture of system calls that are not refused as such.
const auditArch = unix.AUDIT_ARCH_AARCH64

// refusedOnArchitecture are the calls that are refused beside refusedSyscalls: arm64 has no others.
func refusedOnArchitecture() []uint32 { return nil }
