package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockWrites are the modifying access rights of landlock(7) version 6; the files' permissions
// govern reading and executing.
const landlockWrites = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
	unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
	unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
	unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
	unix.LANDLOCK_ACCESS_FS_REFER

// landlockFileWrites are the rights of landlockWrites that apply to files.
const landlockFileWrites = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE

// restrictThread puts this thread, and all that it starts, into a landlock(7) domain that prevents
// signals to processes outside and connections to abstract sockets outside. If writable is not nil,
// only these folders and files can be written.
//
// It restricts a thread instead of the process, as the libraries do: without support by the kernel,
// they create a domain for each thread, and the init could signal its command from only one of
// them.
func restrictThread(writable []string) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno == unix.ENOSYS || errno == unix.EOPNOTSUPP:
		return errors.New("this kernel has no landlock, or it is not among its security modules")
	case errno != 0:
		return fmt.Errorf("asking for landlock: %w", errno)
	case version < 6:
		return fmt.Errorf("this kernel's landlock is of version %d, and 6 is needed", version)
	}
	rules := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}
	if writable != nil {
		rules.Handled_access_fs = landlockWrites
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if errno != 0 {
		return fmt.Errorf("making a landlock domain: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, path := range writable {
		if err := allowWriting(fd, path); err != nil {
			return fmt.Errorf("making a landlock domain: %s: %w", path, err)
		}
	}
	if err := noNewPrivileges(); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("entering a landlock domain: %w", errno)
	}
	return nil
}

// allowWriting allows a domain to write to the path, if it exists.
func allowWriting(rules uintptr, path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: landlockWrites, Parent_fd: int32(at)}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rule.Allowed_access = landlockFileWrites
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
