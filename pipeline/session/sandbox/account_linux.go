package sandbox

import (
	"bufio"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// defaultPath is PATH where the Spec has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// account is the user that a session runs as: always the gateway's.
type account struct {
	UID, GID          int
	Name, Home, Shell string
}

// currentAccount is the gateway's user as the host knows it.
func currentAccount() account {
	a := account{UID: os.Getuid(), GID: os.Getgid(), Shell: "/bin/sh"}
	if u, err := user.LookupId(strconv.Itoa(a.UID)); err == nil {
		a.Name, a.Home = u.Username, u.HomeDir
	}
	a.complete()
	return a.fromPasswd("/etc/passwd")
}

// fromPasswd is the account as a passwd(5) file has it, or as it is where the file says nothing.
func (a account) fromPasswd(file string) account {
	f, err := os.Open(file)
	if err != nil {
		return a
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 7 || fields[2] != strconv.Itoa(a.UID) {
			continue
		}
		a.Name, a.Home, a.Shell = fields[0], fields[5], fields[6]
		a.complete()
		return a
	}
	return a
}

// complete fills in what a user without an entry needs all the same.
func (a *account) complete() {
	if a.Name == "" {
		if a.Name = "user"; a.UID == 0 {
			a.Name = "root"
		}
	}
	if a.Home == "" && a.UID == 0 {
		a.Home = "/root"
	}
	if a.Shell == "" {
		a.Shell = "/bin/sh"
	}
}

// variables are environment variables, in the order in which they were first set.
type variables struct {
	names  []string
	values map[string]string
}

// newVariables takes KEY=VALUE; later ones win, and what has no name is left out.
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

// lookPath finds the file that a command's name means, as execvp(3) does.
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
			found = err // told only if no other folder has it
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

// commandRefusal tells the person why the command could not be started, and what to do.
func commandRefusal(name, path string, inRoot bool, err error) *session.Refusal {
	where := "on this host"
	if inRoot {
		where = "in the app's root folder"
	}
	command := strconv.Quote(name)
	m := "The app's command " + command + " could not be started: "
	switch {
	case errors.Is(err, errInterpreter):
		m += "it is there, but the program that it needs to run (its interpreter or dynamic loader) is not. Install that " + where + "."
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		m += "there is no such program " + where
		if !strings.Contains(name, "/") {
			m += " in PATH (" + path + ")"
		}
		m += ". Install it, or correct the app's command."
	case errors.Is(err, syscall.EISDIR):
		m += "it is a folder. Correct the app's command."
	case errors.Is(err, syscall.EACCES):
		m += "it is not executable for the user of the gateway. Make it so (chmod +x), or correct the app's command."
	case errors.Is(err, syscall.ENOEXEC):
		m += "it is no program for this machine; if it is a script, its first line must name the interpreter (#!/bin/sh)."
	case errors.Is(err, syscall.E2BIG):
		m += "its arguments and environment are too long. Shorten the command line, or the app's environment."
	default:
		m += err.Error() + "."
	}
	return &session.Refusal{Message: m}
}

// errInterpreter: the file is there, but executing it says that there is no such file.
var errInterpreter = errors.New("interpreter not found")
