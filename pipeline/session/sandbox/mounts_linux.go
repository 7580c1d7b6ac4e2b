package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// mountAll creates the session's mounts in this process's own mount namespace, and returns the
// account with its home folder there. Afterwards the working folder is "/".
//
// With a root folder, everything is mounted after the change of root, so that links in that folder,
// which earlier sessions may have written, lead nowhere outside of it.
func (p *initProcess) mountAll() (account, error) {
	s := &p.setup
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return account{}, fmt.Errorf("making the mounts private: %w", err)
	}
	devices, err := openDevices()
	defer closeDevices(devices)
	if err != nil {
		return account{}, err
	}
	root, err := p.coverRoot()
	if err != nil {
		return account{}, err
	}
	if root != "" {
		if err := enterRoot(root); err != nil {
			return account{}, err
		}
	}
	a, err := s.account()
	if err != nil {
		return account{}, err
	}
	for _, target := range []string{"/proc", "/dev", "/tmp"} { // while they can still be created
		if err := makeTarget(s, target); err != nil {
			return account{}, err
		}
	}
	a.Home = homeFor(s, a)
	if err := p.try(ReadOnlyRoot, func() error { return protectFiles(s.Writable) }); err != nil {
		return account{}, err
	}

	if err := mount(s, "proc", "/proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return account{}, err
	}
	if err := mountDev(s, devices); err != nil {
		return account{}, err
	}
	if s.OwnUser != 0 {
		nameAccount(a)
	}
	if err := mountScratch(s, a); err != nil {
		return account{}, err
	}
	hideKernel()
	mountCgroup()
	p.hider.keepScratch("/proc", "/dev", "/tmp", "/var/tmp", "/run", a.Home)
	if err := p.try(HiddenFiles, func() error { return p.hider.hide(s.Secrets) }); err != nil {
		return account{}, err
	}
	if root != "" {
		// The working folder is still the new root, on which the old one is mounted.
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return account{}, fmt.Errorf("leaving the host's root folder: %w", err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return account{}, fmt.Errorf("changing to the root folder: %w", err)
	}
	return a, nil
}

// coverRoot covers the session's root folder if it directly contains private files, and returns the
// folder to enter: Spec.Root or, for the host's root folder with a cover, the cover's mount point.
func (p *initProcess) coverRoot() (string, error) {
	s := &p.setup
	for _, c := range s.Secrets.Covers {
		if c.Dir != "/" {
			continue
		}
		source, root := s.Root, s.Root
		if root == "" {
			source, root = "/", "/tmp"
			if err := makeTarget(s, root); err != nil {
				return "", err
			}
		}
		err := p.try(HiddenFiles, func() error { return p.hider.replace(c, source, root) })
		return root, err
	}
	return s.Root, nil
}

// protectFiles makes all existing files in this mount namespace read-only, unless writable is set,
// and disables set-uid bits and devices. Sockets, FIFOs and later mounts are not affected.
func protectFiles(writable bool) error {
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if !writable {
		attributes.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &attributes)
	if err == unix.ENOSYS {
		return errors.New("this kernel is older than Linux 5.12")
	}
	if err != nil {
		return fmt.Errorf("making the root folder read-only: %w", err)
	}
	return nil
}

// deviceNames returns the devices of every session's /dev. None of them provides access to the
// host's data.
func deviceNames() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// openDevices opens the host's devices with O_PATH, to mount them later by descriptor, when the
// host's /dev is no longer visible.
func openDevices() (map[string]int, error) {
	devices := make(map[string]int)
	for _, name := range deviceNames() {
		fd, err := unix.Open("/dev/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return devices, fmt.Errorf("opening the host's /dev/%s: %w", name, err)
		}
		devices[name] = fd
	}
	return devices, nil
}

func closeDevices(devices map[string]int) {
	for _, fd := range devices {
		unix.Close(fd)
	}
}

// enterRoot makes the folder the root. The host's root stays mounted on it, unreachable by absolute
// paths, until mountAll unmounts it: a user namespace may mount /proc only while it sees one.
func enterRoot(root string) error {
	if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return rootRefusal(root, err)
	}
	if err := unix.Chdir(root); err != nil {
		return rootRefusal(root, err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("making %s the root folder: %w", root, err)
	}
	return nil
}

func rootRefusal(root string, err error) error {
	return &session.Refusal{Message: fmt.Sprintf(
		"The app's root folder %s cannot be used (%v). Create it, or correct the app's root.", root, errnoText(err))}
}

// makeTarget creates the mount point if it is missing.
func makeTarget(s *setup, target string) error {
	err := os.MkdirAll(target, 0o755)
	if err != nil && s.Root != "" {
		return &session.Refusal{Message: fmt.Sprintf("The app's root folder has no %s, and it could not be made (%v). Make that folder.",
			target, errnoText(err))}
	}
	if err != nil {
		return fmt.Errorf("making %s: %w", target, err)
	}
	return nil
}

// mount mounts a file system at target, which it creates if necessary.
func mount(s *setup, kind, target string, flags uintptr, options string) error {
	if err := makeTarget(s, target); err != nil {
		return err
	}
	if err := unix.Mount(kind, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, target, err)
	}
	return nil
}

// tmpfsOptions limit a tmpfs to the session's memory: without a control group nothing else would.
func tmpfsOptions(s *setup, mode uint32) string {
	options := "mode=" + strconv.FormatUint(uint64(mode), 8)
	if s.Memory > 0 {
		options += ",size=" + strconv.FormatInt(s.Memory, 10)
	}
	return options
}

// mountDev creates /dev: a few devices, and the session's own terminals.
func mountDev(s *setup, devices map[string]int) error {
	if err := mount(s, "tmpfs", "/dev", unix.MS_NOSUID, "mode=755,size=1m"); err != nil {
		return err
	}
	for _, name := range deviceNames() {
		if err := os.WriteFile("/dev/"+name, nil, 0o666); err != nil {
			return fmt.Errorf("making a device: %w", err)
		}
		if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(devices[name]), "/dev/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting /dev/%s: %w", name, err)
		}
		// protectFiles has made the host's devices unusable, including this one. In a user namespace, a
		// read-only mount of the host, such as that of systemd's PrivateDevices, has to stay one. That
		// protects the node's mode only: the device can be written to.
		const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NOEXEC
		err := unix.Mount("", "/dev/"+name, "", flags, "")
		if err == unix.EPERM {
			err = unix.Mount("", "/dev/"+name, "", flags|unix.MS_RDONLY, "")
		}
		if err != nil {
			return fmt.Errorf("mounting /dev/%s: %w", name, err)
		}
	}
	for _, link := range [][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
	} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			return fmt.Errorf("filling /dev: %w", err)
		}
	}
	// 5 is the group tty on every distribution; it does not exist in a user namespace.
	const options = "newinstance,ptmxmode=0666,mode=0620"
	if err := mount(s, "devpts", "/dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC, options+",gid=5"); err != nil {
		if err := mount(s, "devpts", "/dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC, options); err != nil {
			return err
		}
	}
	return mount(s, "tmpfs", "/dev/shm", unix.MS_NOSUID|unix.MS_NODEV, tmpfsOptions(s, 0o1777))
}

// errnoText removes the path that package os puts before an error.
func errnoText(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
