package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups makes the control groups of a runtime's sessions. They are all below one of the runtime's
// own, which is below the gateway's own where that can be, so that limits on the gateway hold for
// its sessions as well.
type cgroups struct {
	dir string
	v2  bool
}

// cgroup is the control group of one session.
type cgroup struct{ dir string }

// gatewayLeaf is the group into which a gateway moves itself under version 2, where only groups
// without processes have groups with controllers below them.
const gatewayLeaf = "ttydrain-gateway"

// newCgroups makes the runtime's group, named name, in the first place where that is possible.
func newCgroups(name string) (*cgroups, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	parents, v2, err := memoryParents(string(mounts), string(own))
	if err != nil {
		return nil, err
	}
	var failures error
	for _, parent := range parents {
		c := &cgroups{dir: filepath.Join(parent, name), v2: v2}
		err := c.make(parent)
		if err == nil {
			return c, nil
		}
		failures = errors.Join(failures, err)
	}
	return nil, failures
}

// memoryParents finds the groups below which to make more, best first: the gateway's own, and the
// topmost that can be seen. Of /proc/self/mountinfo and /proc/self/cgroup it takes the hierarchy with
// the memory controller.
func memoryParents(mountinfo, own string) (parents []string, v2 bool, err error) {
	path, found := "", false
	for line := range strings.Lines(own) {
		// hierarchy-ID:controller-list:path
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			if c == "memory" {
				path, found, v2 = parts[2], true, false
			}
		}
		if parts[0] == "0" && !found {
			path, v2 = parts[2], true
		}
	}
	if path == "" {
		return nil, false, errors.New("this host has no control groups for memory")
	}
	for line := range strings.Lines(mountinfo) {
		// 36 35 98:0 /root /mount/point options... - type source superoptions
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		if v2 && right[0] != "cgroup2" ||
			!v2 && (right[0] != "cgroup" || !strings.Contains(","+right[2]+",", ",memory,")) {
			continue
		}
		root, point := left[3], left[4]
		inner, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
		if ok && inner != "" && inner != "/" && (inner[0] == '/') {
			dir := filepath.Join(point, inner)
			if filepath.Base(dir) == gatewayLeaf {
				dir = filepath.Dir(dir)
			}
			parents = append(parents, dir)
		}
		if len(parents) == 0 || parents[0] != point {
			parents = append(parents, point)
		}
		return parents, v2, nil
	}
	return nil, v2, errors.New("the memory control groups of this host are not mounted")
}

// make makes the runtime's group and finds out whether limits can be set below it.
func (c *cgroups) make(parent string) error {
	if c.v2 {
		if err := enableMemory(parent); err != nil {
			return fmt.Errorf("enabling the memory controller in %s: %w", parent, errnoText(err))
		}
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return fmt.Errorf("making the control group %s: %w", c.dir, errnoText(err))
	}
	err := func() error {
		if c.v2 {
			if err := enableMemory(c.dir); err != nil {
				return fmt.Errorf("enabling the memory controller in %s: %w", c.dir, errnoText(err))
			}
		}
		probe, err := c.create("probe", 64<<20)
		if err != nil {
			return err
		}
		return probe.remove()
	}()
	if err != nil {
		os.Remove(c.dir)
	}
	return err
}

// enableMemory lets the groups below dir have the memory controller (version 2). If dir has
// processes, which is forbidden then, and the only one is this, it moves to a group of its own.
func enableMemory(dir string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(enabled)) {
		if c == "memory" {
			return nil
		}
	}
	err = writeFile(control, "+memory")
	if !errors.Is(err, syscall.EBUSY) {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	procs, readErr := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if readErr != nil || strings.TrimSpace(string(procs)) != self {
		return err
	}
	leaf := filepath.Join(dir, gatewayLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := writeFile(filepath.Join(leaf, "cgroup.procs"), self); err != nil {
		return err
	}
	return writeFile(control, "+memory")
}

// create makes a session's group with its limit, in bytes; 0 is none.
func (c *cgroups) create(name string, limit int64) (*cgroup, error) {
	g := &cgroup{dir: filepath.Join(c.dir, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the control group %s: %w", g.dir, errnoText(err))
	}
	if limit <= 0 {
		return g, nil
	}
	file, swapFile, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", limit // memory and swap
	if c.v2 {
		file, swapFile, swap = "memory.max", "memory.swap.max", 0 // swap alone
	}
	if err := writeFile(filepath.Join(g.dir, file), strconv.FormatInt(limit, 10)); err != nil {
		os.Remove(g.dir)
		return nil, fmt.Errorf("limiting the memory of the control group %s: %w", g.dir, errnoText(err))
	}
	err := writeFile(filepath.Join(g.dir, swapFile), strconv.FormatInt(swap, 10))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without swap accounting has no such file
		os.Remove(g.dir)
		return nil, fmt.Errorf("limiting the swap of the control group %s: %w", g.dir, errnoText(err))
	}
	return g, nil
}

// add puts a process into the group: what it starts afterwards will be in it too.
func (g *cgroup) add(pid int) error {
	if err := writeFile(filepath.Join(g.dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("putting the session into the control group %s: %w", g.dir, errnoText(err))
	}
	return nil
}

// removeTries times removePause is how long to wait for killed processes to be gone.
const (
	removeTries = 200
	removePause = 10 * time.Millisecond
)

// remove kills whatever is left in the group, and removes it.
func (g *cgroup) remove() error { return removeCgroup(g.dir) }

func removeCgroup(dir string) error {
	var err error
	for range removeTries {
		if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		if procs, err := os.Open(filepath.Join(dir, "cgroup.procs")); err == nil {
			for lines := bufio.NewScanner(procs); lines.Scan(); {
				if pid, err := strconv.Atoi(lines.Text()); err == nil && pid > 1 {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			procs.Close()
		}
		time.Sleep(removePause) // version 1 tells nobody when a group is empty
	}
	return fmt.Errorf("removing the control group %s: %w", dir, errnoText(err))
}

// removeCgroups removes a runtime's group with those of its sessions.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return removeCgroup(dir)
}

// writeFile writes to a file of the kernel's, which is there already.
func writeFile(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(content)
	return err
}
