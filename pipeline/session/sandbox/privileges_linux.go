package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// keptCapabilities returns the capabilities of a session that runs as root: the usual ones of
// containers, without creating devices (MKNOD), capturing the host's network (NET_RAW), writing its
// audit log (AUDIT_WRITE), and passing on capabilities (SETPCAP, SETFCAP). Other users keep none.
func keptCapabilities(uid int) map[int]bool {
	if uid != 0 {
		return nil
	}
	return map[int]bool{
		unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true,
		unix.CAP_KILL: true, unix.CAP_SETGID: true, unix.CAP_SETUID: true,
		unix.CAP_NET_BIND_SERVICE: true, unix.CAP_SYS_CHROOT: true,
	}
}

// dropPrivileges permanently drops all capabilities except the kept ones for the programs that this
// thread will execute as the user uid. The thread keeps its own.
func dropPrivileges(uid int) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SETPCAP) == 0 {
		if uid != 0 {
			return nil // the bounding set stays, but has no effect without new privileges
		}
		return errors.New("dropping capabilities: the gateway runs as root without CAP_SETPCAP")
	}
	kept := keptCapabilities(uid)
	for c := 0; ; c++ {
		if kept[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err == unix.EINVAL {
			return nil // after the last capability
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
}

// noNewPrivileges prevents this thread and its children from gaining privileges by executing
// programs: set-uid bits and file capabilities have no effect.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	return nil
}
