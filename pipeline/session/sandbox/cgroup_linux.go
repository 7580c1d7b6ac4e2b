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

// cgroups manages the control groups of a runtime's sessions. In each hierarchy they are below one
// group of the runtime, which is below the gateway's own if possible, so that limits of the gateway
// apply to its sessions as well.
type cgroups struct{ hierarchies []*hierarchy }

// hierarchy is a mounted tree of control groups that limits sessions.
type hierarchy struct {
	point string // its mount point
	dir   string // the runtime's group
	v2    bool
	// memory and pids report which controllers limit sessions there.
	memory, pids bool
}

// limits are the limits of a session's groups; 0 means no limit.
type limits struct {
	memory int64 // in bytes
	pids   int64 // processes and threads
}

// cgroup is the control group of one session in each hierarchy.
type cgroup struct{ dirs []string }

// gatewayLeaf is the group into which a gateway moves itself with version 2, which allows
// controllers only below groups without processes.
const gatewayLeaf = "ttydrain-gateway"

// newCgroups creates the runtime's groups, called name. lacks has the features that they cannot
// limit, with the reason.
func newCgroups(name string) (c *cgroups, lacks map[Feature]error) {
	c, lacks = new(cgroups), make(map[Feature]error)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return c, map[Feature]error{CgroupMemory: err, CgroupPids: err}
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return c, map[Feature]error{CgroupMemory: err, CgroupPids: err}
	}
	for _, f := range []Feature{CgroupMemory, CgroupPids} {
		at, err := findController(string(mounts), string(own), f.controller())
		if err == nil {
			err = c.use(f, at, name)
		}
		if err != nil {
			lacks[f] = err
		}
	}
	return c, lacks
}

// controller returns the kernel's name for the controller of a feature.
func (f Feature) controller() string { return strings.TrimPrefix(string(f), "cgroup_") }

// dirs returns the runtime's groups.
func (c *cgroups) dirs() []string {
	var dirs []string
	for _, h := range c.hierarchies {
		dirs = append(dirs, h.dir)
	}
	return dirs
}

// use makes the controller of a feature limit sessions, in the first possible parent.
func (c *cgroups) use(f Feature, at controllerPlace, name string) error {
	for _, h := range c.hierarchies {
		if h.point == at.point { // a process is in only one group of a hierarchy
			return h.limit(f)
		}
	}
	var failures error
	for _, parent := range at.parents {
		h := &hierarchy{point: at.point, dir: filepath.Join(parent, name), v2: at.v2}
		err := os.Mkdir(h.dir, 0o755)
		if err != nil {
			err = fmt.Errorf("making the control group %s: %w", h.dir, errnoText(err))
		} else if err = h.limit(f); err != nil {
			os.Remove(h.dir)
		}
		if err == nil {
			c.hierarchies = append(c.hierarchies, h)
			return nil
		}
		failures = errors.Join(failures, err)
	}
	return failures
}

// limit checks whether a controller can limit groups below the runtime's, and enables it.
func (h *hierarchy) limit(f Feature) error {
	if h.v2 {
		for _, dir := range []string{filepath.Dir(h.dir), h.dir} {
			if err := enableController(dir, f.controller()); err != nil {
				return fmt.Errorf("enabling the %s controller in %s: %w", f.controller(), dir, errnoText(err))
			}
		}
	}
	try := &hierarchy{dir: h.dir, v2: h.v2, memory: f == CgroupMemory, pids: f == CgroupPids}
	dir, err := try.create("probe", limits{memory: 64 << 20, pids: 64})
	if err != nil {
		return err
	}
	if err := removeCgroup(dir); err != nil {
		return err
	}
	h.memory, h.pids = h.memory || try.memory, h.pids || try.pids
	return nil
}

// controllerPlace is the location of a controller's groups.
type controllerPlace struct {
	point string // mount point of the hierarchy
	v2    bool
	// parents are the groups below which to create others, best first: the gateway's own, and the
	// topmost visible one.
	parents []string
}

// findController returns the hierarchy of a controller, according to the contents of
// /proc/self/mountinfo and /proc/self/cgroup.
func findController(mountinfo, own, controller string) (controllerPlace, error) {
	v2 := false
	path, found := "", false
	for line := range strings.Lines(own) {
		// hierarchy-ID:controller-list:path
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			if c == controller {
				path, found, v2 = parts[2], true, false
			}
		}
		if parts[0] == "0" && !found {
			path, v2 = parts[2], true
		}
	}
	if path == "" {
		return controllerPlace{}, fmt.Errorf("this host has no control groups for %s", controller)
	}
	for line := range strings.Lines(mountinfo) {
		// 36 35 98:0 /root /mount/point options... - type source superoptions
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		if v2 && right[0] != "cgroup2" ||
			!v2 && (right[0] != "cgroup" || !strings.Contains(","+right[2]+",", ","+controller+",")) {
			continue
		}
		root, point := left[3], left[4]
		var parents []string
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
		return controllerPlace{point, v2, parents}, nil
	}
	return controllerPlace{}, fmt.Errorf("the control groups of this host for %s are not mounted", controller)
}

// enableController enables a controller for the groups below dir (version 2). That requires that
// dir has no processes: if its only process is this one, it moves to a group of its own.
func enableController(dir, controller string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(enabled)) {
		if c == controller {
			return nil
		}
	}
	err = writeFile(control, "+"+controller)
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
	return writeFile(control, "+"+controller)
}

// create creates a session's groups with its limits.
func (c *cgroups) create(name string, l limits) (*cgroup, error) {
	g := new(cgroup)
	for _, h := range c.hierarchies {
		dir, err := h.create(name, l)
		if err != nil {
			return nil, errors.Join(err, g.remove())
		}
		g.dirs = append(g.dirs, dir)
	}
	return g, nil
}

func (h *hierarchy) create(name string, l limits) (dir string, err error) {
	dir = filepath.Join(h.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the control group %s: %w", dir, errnoText(err))
	}
	if h.memory && l.memory > 0 {
		err = limitMemory(dir, l.memory, h.v2)
	}
	if err == nil && h.pids && l.pids > 0 {
		if err = writeFile(filepath.Join(dir, "pids.max"), strconv.FormatInt(l.pids, 10)); err != nil {
			err = fmt.Errorf("limiting the processes of the control group %s: %w", dir, errnoText(err))
		}
	}
	if err != nil {
		os.Remove(dir)
		return "", err
	}
	return dir, nil
}

// limitMemory limits the memory and swap of a control group together.
func limitMemory(dir string, limit int64, v2 bool) error {
	file, swapFile, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", limit // memory and swap
	if v2 {
		file, swapFile, swap = "memory.max", "memory.swap.max", 0 // swap alone
	}
	if err := writeFile(filepath.Join(dir, file), strconv.FormatInt(limit, 10)); err != nil {
		return fmt.Errorf("limiting the memory of the control group %s: %w", dir, errnoText(err))
	}
	err := writeFile(filepath.Join(dir, swapFile), strconv.FormatInt(swap, 10))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without swap accounting has no such file
		return fmt.Errorf("limiting the swap of the control group %s: %w", dir, errnoText(err))
	}
	return nil
}

// add adds a process to the groups; its future children will be in them, too.
func (g *cgroup) add(pid int) error {
	for _, dir := range g.dirs {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("putting the session into the control group %s: %w", dir, errnoText(err))
		}
	}
	return nil
}

// removeTries times removePause is the time to wait for killed processes to disappear.
const (
	removeTries = 200
	removePause = 10 * time.Millisecond
)

// remove kills the remaining processes of the groups and removes them.
func (g *cgroup) remove() (err error) {
	for _, dir := range g.dirs {
		err = errors.Join(err, removeCgroup(dir))
	}
	return err
}

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
		time.Sleep(removePause) // version 1 does not report that a group is empty
	}
	return fmt.Errorf("removing the control group %s: %w", dir, errnoText(err))
}

// removeCgroups removes a runtime's group and those of its sessions.
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

// writeFile writes to an existing file of the kernel's.
func writeFile(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(content)
	return err
}
