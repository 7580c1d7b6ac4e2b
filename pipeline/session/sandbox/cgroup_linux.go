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
// own in each hierarchy, which is below the gateway's own where that can be, so that limits on the
// gateway hold for its sessions as well.
type cgroups struct{ hierarchies []*hierarchy }

// A hierarchy is a mounted tree of control groups that limits sessions.
type hierarchy struct {
	point string // where it is mounted
	dir   string // the runtime's group
	v2    bool
	// memory and pids are the controllers that limit sessions there.
	memory, pids bool
}

// limits are those of a session's groups; 0 is none.
type limits struct {
	memory int64 // in bytes
	pids   int64 // processes and threads
}

// cgroup is the control group of one session, in each hierarchy.
type cgroup struct{ dirs []string }

// gatewayLeaf is the group into which a gateway moves itself under version 2, where only groups
// without processes have groups with controllers below them.
const gatewayLeaf = "ttydrain-gateway"

// newCgroups makes the runtime's groups, named name. What cannot be limited by them is in lacks,
// with the reason.
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

// controller returns the name that the kernel has for the controller of a feature.
func (f Feature) controller() string { return strings.TrimPrefix(string(f), "cgroup_") }

// dirs returns the runtime's groups.
func (c *cgroups) dirs() []string {
	var dirs []string
	for _, h := range c.hierarchies {
		dirs = append(dirs, h.dir)
	}
	return dirs
}

// use has sessions limited by the controller of a feature, in the first place where that is
// possible.
func (c *cgroups) use(f Feature, at controllerPlace, name string) error {
	for _, h := range c.hierarchies {
		if h.point == at.point { // a process is in one group of a hierarchy only
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

// limit finds out whether a controller can limit what is below the runtime's group, and has it do
// so.
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

// A controllerPlace is where a controller's groups are.
type controllerPlace struct {
	point string // where the hierarchy is mounted
	v2    bool
	// parents are the groups below which to make more, best first: the gateway's own, and the
	// topmost that can be seen.
	parents []string
}

// findController finds the hierarchy that has a controller, by the contents of /proc/self/mountinfo
// and /proc/self/cgroup.
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

// enableController lets the groups below dir have a controller (version 2). If dir has
// processes, which is forbidden then, and the only one is this, it moves to a group of its own.
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

// create makes a session's groups with its limits.
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

// limitMemory limits memory and swap of a control group together.
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

// add puts a process into the groups: what it starts afterwards will be in them too.
func (g *cgroup) add(pid int) error {
	for _, dir := range g.dirs {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("putting the session into the control group %s: %w", dir, errnoText(err))
		}
	}
	return nil
}

// removeTries times removePause is how long to wait for killed processes to be gone.
const (
	removeTries = 200
	removePause = 10 * time.Millisecond
)

// remove kills what is left in the groups, and removes them.
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
