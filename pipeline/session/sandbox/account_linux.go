package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// defaultPath is the PATH if the Spec has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// account is a user account: the gateway's, or the one that a session runs as.
type account struct {
	UID, GID          int
	Name, Home, Shell string
}

// currentAccount returns the gateway's account on the host.
func currentAccount() account {
	a := account{UID: os.Getuid(), GID: os.Getgid(), Shell: "/bin/sh"}
	if u, err := user.LookupId(strconv.Itoa(a.UID)); err == nil {
		a.Name, a.Home = u.Username, u.HomeDir
	}
	a.complete()
	return a.fromPasswd("/etc/passwd")
}

// unprivileged is the user of sessions if the gateway runs as root and the app names no user.
const unprivileged = "nobody"

// unprivilegedID is its ID on every distribution, which the kernel also shows for unmapped users.
const unprivilegedID = 65534

// account returns the account that the session runs as: the app's user, by name or ID, or else an
// unprivileged one; or the gateway's, if the gateway cannot become another user. It is looked up in
// the passwd file that the session sees.
func (s *setup) account() (account, error) {
	gateway, name := s.Gateway, s.User
	own := gateway
	if s.Root != "" {
		own = account{UID: gateway.UID, GID: gateway.GID}
		own.complete()
		own = own.fromPasswd("/etc/passwd")
	}
	if name == "" && s.OneUser || name == own.Name || name == strconv.Itoa(own.UID) {
		return own, nil
	}
	if name == "" && s.OwnUser != 0 {
		a := account{UID: s.OwnUser, GID: s.OwnUser, Name: s.ownName()}
		a.complete()
		return a, nil
	}
	if s.OneUser {
		return account{}, &session.Refusal{Message: fmt.Sprintf("The app's user is %q, and its gateway, which runs as %q, cannot become another user. "+
			"Run the gateway as root, or take the app's user away.", name, gateway.Name)}
	}
	if name == "" {
		name = unprivileged
	}
	a, ok := lookPasswd("/etc/passwd", func(fields []string) bool { return fields[0] == name || fields[2] == name })
	id, err := strconv.ParseUint(name, 10, 31)
	switch {
	case ok:
	case err == nil:
		a = account{UID: int(id), GID: int(id)}
	case name == unprivileged:
		a = account{UID: unprivilegedID, GID: unprivilegedID, Name: unprivileged}
	case name == "root":
		a = account{}
	default:
		return account{}, &session.Refusal{Message: fmt.Sprintf("The app's user %q is not known there. Make that user, or correct the app's user.", name)}
	}
	a.complete()
	return a, nil
}

// ownName returns the name for a session's own user: "session", unless another user has that name.
func (s *setup) ownName() string {
	const name = "session"
	if _, taken := lookPasswd("/etc/passwd", func(fields []string) bool { return fields[0] == name }); taken {
		return name + "-" + strconv.Itoa(s.OwnUser)
	}
	return name
}

// nameAccount adds an account to the passwd and group files that the session sees, because many
// programs do not work for a user without a name. It ignores failures. The files stay in a folder
// over which the session's /tmp is mounted later.
func nameAccount(a account) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if unix.Mount("tmpfs", "/tmp", "tmpfs", flags, "mode=700,size=4m") != nil {
		return
	}
	for _, f := range []struct{ file, line string }{
		{"/etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:%s\n", a.Name, a.UID, a.GID, a.Home, a.Shell)},
		{"/etc/group", fmt.Sprintf("%s:x:%d:\n", a.Name, a.GID)},
	} {
		content, err := os.ReadFile(f.file)
		if err != nil {
			continue
		}
		if len(content) > 0 && content[len(content)-1] != '\n' {
			content = append(content, '\n')
		}
		added := filepath.Join("/tmp", filepath.Base(f.file))
		if os.WriteFile(added, append(content, f.line...), 0o644) == nil && os.Chmod(added, 0o644) == nil &&
			unix.Mount(added, f.file, "", unix.MS_BIND, "") == nil {
			unix.Mount("", f.file, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, "")
		}
	}
}

// lookPasswd returns the first matching entry of a passwd(5) file.
func lookPasswd(file string, match func(fields []string) bool) (account, bool) {
	f, err := os.Open(file)
	if err != nil {
		return account{}, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 7 || !match(fields) {
			continue
		}
		uid, uidErr := strconv.ParseUint(fields[2], 10, 31)
		gid, gidErr := strconv.ParseUint(fields[3], 10, 31)
		if uidErr == nil && gidErr == nil {
			return account{UID: int(uid), GID: int(gid), Name: fields[0], Home: fields[5], Shell: fields[6]}, true
		}
	}
	return account{}, false
}

// fromPasswd returns the account as in a passwd(5) file, or unchanged if the file does not have it.
func (a account) fromPasswd(file string) account {
	found, ok := lookPasswd(file, func(fields []string) bool { return fields[2] == strconv.Itoa(a.UID) })
	if ok {
		a.Name, a.Home, a.Shell = found.Name, found.Home, found.Shell
		a.complete()
	}
	return a
}

// complete sets the fields that a user without an entry needs.
func (a *account) complete() {
	if a.Name == "" {
		if a.Name = "user"; a.UID == 0 {
			a.Name = "root"
		}
	}
	if a.Home == "" && a.UID == 0 {
		a.Home = "/root"
	}
	switch filepath.Base(a.Shell) {
	case ".", "nologin", "false": // an editor would start it to run a command
		a.Shell = "/bin/sh"
	}
}

// variables holds environment variables, in the order in which they were first set.
type variables struct {
	names  []string
	values map[string]string
}

// newVariables parses KEY=VALUE; later values win, and entries without a name are ignored.
func newVariables(env []string) *variables {
	v := &variables{values: make(map[string]string)}
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" && !strings.ContainsRune(e, 0) {
			v.set(name, value)
		}
	}
	return v
}

func (v *variables) set(name, value string) {
	if _, ok := v.values[name]; !ok {
		v.names = append(v.names, name)
	}
	v.values[name] = value
}

func (v *variables) setMissing(name, value string) {
	if _, ok := v.values[name]; !ok {
		v.set(name, value)
	}
}

func (v *variables) list() []string {
	list := make([]string, len(v.names))
	for i, name := range v.names {
		list[i] = name + "=" + v.values[name]
	}
	return list
}

// lookPath returns the file for a command's name, as execvp(3) finds it.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	found := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, syscall.EACCES) {
			found = err // reported only if no other folder has it
		}
	}
	return "", found
}

func executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	return syscall.Access(file, 1) // X_OK
}

// commandRefusal explains to the user why the command could not be started, and what to do.
func commandRefusal(name, path string, inRoot bool, err error) *session.Refusal {
	where := "on this host"
	if inRoot {
		where = "in the app's root folder"
	}
	command := strconv.Quote(name)
	m := "The app's command " + command + " could not be started: "
	switch {
	case errors.Is(err, errInterpreter):
		m += "it exists, but its interpreter or dynamic loader does not. Install that " + where + "."
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		m += "there is no such program " + where
		if !strings.Contains(name, "/") {
			m += " in PATH (" + path + ")"
		}
		m += ". Install it, or correct the app's command."
	case errors.Is(err, syscall.EISDIR):
		m += "it is a folder. Correct the app's command."
	case errors.Is(err, syscall.EACCES):
		m += "it is not executable for the session's user. Make it so (chmod +x), or correct the app's command."
	case errors.Is(err, syscall.ENOEXEC):
		m += "it is not a program for this machine; if it is a script, its first line must name the interpreter (#!/bin/sh)."
	case errors.Is(err, syscall.E2BIG):
		m += "its arguments and environment are too long. Shorten the command line, or the app's environment."
	default:
		m += err.Error() + "."
	}
	return &session.Refusal{Message: m}
}

// errInterpreter means that the file exists, but executing it fails with ENOENT.
var errInterpreter = errors.New("interpreter not found")
