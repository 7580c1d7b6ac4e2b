package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// keptCapabilities are what a session of root's keeps: what containers usually have, without making
// devices (MKNOD), without listening to the host's network (NET_RAW) and writing its audit log
// (AUDIT_WRITE), and without handing capabilities on (SETPCAP, SETFCAP). Another user keeps none.
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

// dropPrivileges takes from what this thread will execute, as the user uid, all capabilities but
// the kept ones, for good. This thread keeps its own.
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
			return nil // the bounding set stays, and without new privileges nothing comes out of it
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
			return nil // past the last one
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
}

// noNewPrivileges makes that no program which this thread executes, or its children do, has more
// privileges than they have: set-uid bits and capabilities of files have no effect.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	return nil
}
