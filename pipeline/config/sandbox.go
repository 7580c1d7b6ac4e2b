package config

import (
	"regexp"
	"strconv"
)

// Sandbox configures the sandbox runtime.
type Sandbox struct {
	// UIDRange holds the user IDs for sessions whose app names no user, if the gateway is root:
	// each session has its own. The default is in a range that systemd leaves unassigned.
	UIDRange string `yaml:"uid_range" want:"a range of user IDs such as 300000-365535, or none"`
	// Require are the features of the host without which the gateway does not start; see package
	// sandbox for their meaning.
	Require []string `yaml:"require" enum:"namespaces|cgroup_namespace|network_namespace|read_only_root|hidden_files|separate_user|own_user|no_new_privileges|capabilities|seccomp|landlock|cgroup_memory|cgroup_pids"`
}

func (s *Sandbox) setDefaults() { s.UIDRange = "1879048192-1879113727" }

// uidRangeForm matches two user IDs.
var uidRangeForm = regexp.MustCompile(`^([0-9]{1,10})-([0-9]{1,10})$`)

// Users returns the lowest and the highest user ID of UIDRange, or false if there is none.
func (s Sandbox) Users() (low, high int, ok bool) {
	m := uidRangeForm.FindStringSubmatch(s.UIDRange)
	if m == nil {
		return 0, 0, false
	}
	low, lowErr := strconv.Atoi(m[1])
	high, highErr := strconv.Atoi(m[2])
	return low, high, lowErr == nil && highErr == nil
}

const (
	minSessionUID  = 1000
	maxSessionUID  = 1<<31 - 2
	minSessionUIDs = 16 // in a range
	overflowUID    = 65534
)

// finishSandbox checks the range of user IDs.
func (c *Config) finishSandbox(d *decoder) {
	const path = "sandbox.uid_range"
	if !d.usable(path) || c.Sandbox.UIDRange == "none" {
		return
	}
	low, high, ok := c.Sandbox.Users()
	switch {
	case !ok || low < minSessionUID || high > maxSessionUID:
		d.refuse(codeForm, path, "%s is not possible; expected two user IDs from %d to %d, such as 300000-365535, or none", quote(c.Sandbox.UIDRange), minSessionUID, maxSessionUID)
	case high-low+1 < minSessionUIDs:
		d.refuse(codeRange, path, "%s has fewer than %d user IDs, and each session needs one; expected a range such as 300000-365535", quote(c.Sandbox.UIDRange), minSessionUIDs)
	case low <= overflowUID+1 && high >= overflowUID:
		d.refuse(codeForm, path, "%s has %d or %d in it, which belong to no user; expected a range such as 300000-365535", quote(c.Sandbox.UIDRange), overflowUID, overflowUID+1)
	}
}
