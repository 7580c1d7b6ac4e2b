package sandbox

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// readOnlyKernel is what controls the host's kernel: root could lift its own limits there, without
// any capability.
func readOnlyKernel() []string {
	return []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"}
}

// hiddenKernel is what container engines hide of the host's kernel: memory, keys, timers, hardware.
func hiddenKernel() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/key-users", "/proc/keys",
		"/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
		"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/fs/pstore", "/sys/fs/selinux",
		"/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing", "/sys/module",
	}
}

// hideKernel makes the controls of the host's kernel read-only, and hides what tells of other
// sessions. What this kernel does not have is passed over. A user namespace gives no power over any
// of it, so there it is no loss if it fails.
func hideKernel() {
	for _, path := range readOnlyKernel() {
		if unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "") != nil {
			continue
		}
		// By folder and everything mounted below it (Linux 5.12), otherwise the folder alone.
		readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &readOnly) != nil {
			unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
	}
	for _, path := range hiddenKernel() {
		hide(path)
	}
}

// mountCgroup shows the session its own control group where the host shows all of them. Programs
// look there for their memory's limit. It is no loss if that cannot be.
func mountCgroup() {
	const dir, flags = "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || !strings.HasPrefix(string(own), "0::") {
		return // version 1 shows its limit in files that each controller has to itself
	}
	unix.Mount("cgroup2", dir, "cgroup2", flags, "")
}

// hide puts an empty folder without permissions over a folder, and the null device over a file.
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
