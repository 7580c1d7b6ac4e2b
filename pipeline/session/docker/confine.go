package docker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// confinementOf returns the settings of the app's container that restrict it, for a session's
// container: a session is never less confined than its app. Settings that grant access are omitted:
// if the app is less confined than the daemon's defaults, a session has the defaults. A session
// does not inherit fields that this function does not name; TestEveryFieldIsClassified has the
// complete list.
func confinementOf(h *container.HostConfig) (container.HostConfig, error) {
	security, err := securityOptions(h.SecurityOpt)
	if err != nil {
		return container.HostConfig{}, err
	}
	c := container.HostConfig{
		Annotations: h.Annotations, // interpreted by the OCI runtime
		CapDrop:     h.CapDrop, CapAdd: addedCapabilities(h),
		IpcMode:        container.IPCModePrivate,
		GroupAdd:       h.GroupAdd,
		OomScoreAdj:    max(0, h.OomScoreAdj),
		ReadonlyRootfs: h.ReadonlyRootfs, Tmpfs: h.Tmpfs, Mounts: scratchMounts(h.Mounts),
		SecurityOpt: security,
		StorageOpt:  h.StorageOpt, ShmSize: h.ShmSize,
		Sysctls: h.Sysctls, Runtime: h.Runtime, Isolation: h.Isolation, Umask: h.Umask,
		MaskedPaths:   withDefaults(h.MaskedPaths, defaultMasked()),
		ReadonlyPaths: withDefaults(h.ReadonlyPaths, defaultReadonly()),
		Resources: container.Resources{
			CPUShares: h.CPUShares, NanoCPUs: h.NanoCPUs, CPUPeriod: h.CPUPeriod, CPUQuota: h.CPUQuota,
			CpusetCpus: h.CpusetCpus, CpusetMems: h.CpusetMems, CPUCount: h.CPUCount, CPUPercent: h.CPUPercent,
			CgroupParent: h.CgroupParent,
			BlkioWeight:  h.BlkioWeight, BlkioWeightDevice: h.BlkioWeightDevice,
			BlkioDeviceReadBps: h.BlkioDeviceReadBps, BlkioDeviceWriteBps: h.BlkioDeviceWriteBps,
			BlkioDeviceReadIOps: h.BlkioDeviceReadIOps, BlkioDeviceWriteIOps: h.BlkioDeviceWriteIOps,
			IOMaximumIOps: h.IOMaximumIOps, IOMaximumBandwidth: h.IOMaximumBandwidth,
			Memory: h.Memory, MemorySwappiness: h.MemorySwappiness, PidsLimit: h.PidsLimit,
			Ulimits: h.Ulimits,
		},
	}
	if h.IpcMode.IsNone() {
		c.IpcMode = h.IpcMode
	}
	if h.CgroupnsMode.IsPrivate() {
		c.CgroupnsMode = h.CgroupnsMode
	}
	if !h.UsernsMode.IsHost() {
		c.UsernsMode = h.UsernsMode
	}
	return c, nil
}

// securityOptions returns the options that restrict. An unknown option is an error, because it
// could restrict, too.
func securityOptions(options []string) ([]string, error) {
	restricting := []string{"no-new-privileges"}
	for _, option := range options {
		name, value := option, ""
		if i := strings.IndexAny(option, "=:"); i >= 0 { // the latter is an older form
			name, value = option[:i], option[i+1:]
		}
		switch name {
		case "no-new-privileges", "writable-cgroups", "systempaths": // the first is always set; the others grant access
		case "seccomp", "apparmor":
			if value != "unconfined" {
				restricting = append(restricting, option)
			}
		case "label":
			if value != "disable" {
				restricting = append(restricting, option)
			}
		default:
			return nil, &session.Refusal{Message: fmt.Sprintf("the app's container has the security option %q, which this gateway does not know: "+
				"a session could be less confined than the app", name)}
		}
	}
	return restricting, nil
}

// defaultCapabilities returns the capabilities that the daemon grants a container.
func defaultCapabilities() []string {
	return []string{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
		"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
}

// addedCapabilities returns the capabilities to add for a session. If the app drops all and adds
// some, a session has those of them that are among the daemon's defaults.
func addedCapabilities(h *container.HostConfig) []string {
	isAll := func(name string) bool { return strings.EqualFold(name, "ALL") }
	if !slices.ContainsFunc(h.CapDrop, isAll) {
		return nil
	}
	var added []string
	for _, name := range h.CapAdd {
		if slices.Contains(defaultCapabilities(), strings.TrimPrefix(strings.ToUpper(name), "CAP_")) {
			added = append(added, name)
		}
	}
	return added
}

// scratchMounts returns the mounts that are in-memory file systems: an app with a read-only root
// has its temporary files there.
func scratchMounts(mounts []mount.Mount) []mount.Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m mount.Mount) bool { return m.Type != mount.TypeTmpfs })
}

// defaultMasked and defaultReadonly return the paths in /proc and /sys that the daemon hides from
// containers, or makes read-only. It ignores paths that the kernel does not have.
func defaultMasked() []string {
	return []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"}
}

func defaultReadonly() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// withDefaults returns the paths together with those that every container should have; nil, which
// selects the daemon's own list, if the app has none.
func withDefaults(paths, defaults []string) []string {
	if len(paths) == 0 {
		return nil
	}
	all := make(map[string]bool)
	for _, path := range append(slices.Clone(paths), defaults...) {
		all[path] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// lower returns the lower of two limits; 0 or less means no limit.
func lower(a, b int64) int64 {
	if a <= 0 || b > 0 && b < a {
		return max(0, b)
	}
	return a
}
