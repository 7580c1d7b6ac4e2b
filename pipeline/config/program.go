package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// defaultPath is the PATH of sessions of the sandbox runtime.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ProgramWarnings returns a warning for each app of the sandbox runtime whose program this machine
// lacks. It is for the machine that runs the gateway: others need not have the programs.
func (c *Config) ProgramWarnings() Mistakes {
	d := decoder{file: c.file, places: c.places}
	for i := range c.Apps {
		a := &c.Apps[i]
		if a.Runtime != RuntimeSandbox || len(a.Command) == 0 {
			continue
		}
		where := "on this machine"
		if a.Root != "" {
			where = "in " + quote(a.Root)
		}
		if problem := a.programProblem(); problem != "" {
			d.warn(codeProgram, fmt.Sprintf("apps[%d].command", i), "%s %s %s, so that sessions would fail; expected a program that the gateway's machine has",
				quote(a.Command[0]), problem, where)
		}
	}
	return d.warnings
}

// programProblem returns why the program of an app cannot be run, in a sentence that begins
// with its name and ends with the place; "" if it can, or if that cannot be found out.
func (a *App) programProblem() string {
	name := a.Command[0]
	if strings.Contains(name, "/") {
		return problemOfProgram(a.stat(name))
	}
	path := defaultPath
	if own, ok := a.Env["PATH"]; ok {
		path = own.Reveal()
	}
	for _, dir := range filepath.SplitList(path) {
		if problemOfProgram(a.stat(filepath.Join(dir, name))) == "" {
			return ""
		}
	}
	return "is in no folder of PATH"
}

// stat returns information about a file in the file system that the app's sessions see.
func (a *App) stat(file string) (fs.FileInfo, error) {
	if a.Root == "" {
		return os.Stat(file)
	}
	root, err := os.OpenRoot(a.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(strings.TrimLeft(filepath.Clean("/"+file), "/"))
}

func problemOfProgram(info fs.FileInfo, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case err != nil:
		return "" // such as an absolute symbolic link in a root, which the session itself can follow
	case info.IsDir():
		return "is a folder"
	case info.Mode()&0o111 == 0:
		return "is not executable"
	}
	return ""
}
