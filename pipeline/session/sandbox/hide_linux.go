package sandbox

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// readOnlyKernel returns the paths that control the host's kernel: root could lift its own limits
// there without any capability.
func readOnlyKernel() []string {
	return []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"}
}

// hiddenKernel returns the kernel interfaces that container engines hide: memory, keys, timers,
// hardware.
func hiddenKernel() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/key-users", "/proc/keys",
		"/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/fs/pstore", "/sys/fs/selinux",
		"/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing", "/sys/module",
	}
}

// hideKernel makes the controls of the host's kernel read-only, and hides information about other
// sessions. It ignores paths that this kernel does not have. Failures do not matter in a user
// namespace, which has no power over these files.
func hideKernel() {
	for _, path := range readOnlyKernel() {
		if unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "") != nil {
			continue
		}
		// The folder and everything mounted below it (Linux 5.12), otherwise only the folder.
		readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &readOnly) != nil {
			unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
	}
	for _, path := range hiddenKernel() {
		hide(path)
	}
}

// mountCgroup mounts the session's own control group over the host's tree. Programs read their
// memory limit there. It ignores failures.
func mountCgroup() {
	const dir, flags = "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || !strings.HasPrefix(string(own), "0::") {
		return // version 1 has a hierarchy for each controller
	}
	unix.Mount("cgroup2", dir, "cgroup2", flags, "")
}

// hide mounts an empty folder without permissions over a folder, and the null device over a file.
func hide(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return mountEmpty(path)
	}
	return unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
}
