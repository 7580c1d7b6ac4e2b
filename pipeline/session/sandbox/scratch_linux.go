package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountScratch mounts the folders that a session may write to. They are in memory that counts as
// the session's, and are deleted with it.
func mountScratch(s *setup, a account) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	if err := mount(s, "tmpfs", "/tmp", flags, tmpfsOptions(s, 0o1777)); err != nil {
		return err
	}
	if isFolder("/var/tmp") {
		if err := mount(s, "tmpfs", "/var/tmp", flags, tmpfsOptions(s, 0o1777)); err != nil {
			return err
		}
	}
	if isFolder("/run") {
		if err := mountRun(s); err != nil {
			return err
		}
	}
	if a.Home == "/tmp" {
		return nil // already scratch
	}
	return mount(s, "tmpfs", a.Home, flags, tmpfsOptions(s, 0o700)+fmt.Sprintf(",uid=%d,gid=%d", a.UID, a.GID))
}

// isFolder reports whether path is a folder and not a link to one.
func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// mountRun mounts a scratch /run: the host's has the control sockets of its services. It keeps the
// resolver configuration, which many hosts have there.
func mountRun(s *setup) error {
	const nameServers = "/etc/resolv.conf"
	file, err := filepath.EvalSymlinks(nameServers)
	var content []byte
	if err == nil && strings.HasPrefix(file, "/run/") {
		content, err = os.ReadFile(file)
	}
	if err := mount(s, "tmpfs", "/run", unix.MS_NOSUID|unix.MS_NODEV, tmpfsOptions(s, 0o1777)); err != nil {
		return err
	}
	if err != nil || content == nil {
		return nil // nothing to keep
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("keeping %s: %w", nameServers, err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return fmt.Errorf("keeping %s: %w", nameServers, err)
	}
	return nil
}

// substituteHome is the home of a user without a usable one.
const substituteHome = "/tmp/home"

// homeFor returns the mount point of the scratch home. It is created in a root folder that does not
// have it.
func homeFor(s *setup, a account) string {
	home := filepath.Clean(a.Home)
	info, err := os.Stat(home)
	switch {
	case !filepath.IsAbs(home), home == "/", home == "/nonexistent":
		return substituteHome
	case home == "/tmp", strings.HasPrefix(home, "/tmp/"):
		return home
	case err == nil && info.IsDir():
		return home
	case s.Root != "" && errors.Is(err, os.ErrNotExist) && os.MkdirAll(home, 0o755) == nil:
		return home
	default: // never create folders on the host
		return substituteHome
	}
}
