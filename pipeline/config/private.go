package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// PrivateFile is a file or folder with secrets of ttydrain's own.
type PrivateFile struct {
	// Setting is the path of the setting that names it, such as "drains[0].key_file"; "" for the
	// configuration itself.
	Setting string
	Path    string
}

// Private returns the files and folders with secrets of ttydrain's own: the configuration, the keys
// and the store. They may be missing.
func (c *Config) Private() []PrivateFile { return c.private }

// PrivateFiles returns the paths of [Config.Private].
func (c *Config) PrivateFiles() []string {
	paths := make([]string, len(c.private))
	for i, f := range c.private {
		paths[i] = f.Path
	}
	return paths
}

// Warnings returns problems of a configuration that is accepted.
func (c *Config) Warnings() Mistakes { return c.warnings }

// keepPrivate records a file or folder with secrets that the setting at path names.
func (d *decoder) keepPrivate(path, file string) {
	if file != "" {
		d.private = append(d.private, PrivateFile{path, file})
	}
}

// Values of insecure_file_permissions.
const (
	permissionsRefuse = "refuse"
	permissionsWarn   = "warn"
)

// finishPrivate collects the private files, and checks that only their owner can read them.
func (c *Config) finishPrivate(d *decoder) {
	d.keepPrivate("store", c.Store)
	if folder := filepath.Dir(c.Admin.Socket); c.Admin.Socket != "" && filepath.Dir(folder) != c.Store {
		d.keepPrivate("admin.socket", folder)
	}
	for i, file := range c.Gateway.HostKeys {
		d.keepPrivate(fmt.Sprintf("gateway.host_key[%d]", i), file)
	}
	d.keepPrivate("user_document.signing_key", c.UserDocument.SigningKey)
	d.keepPrivate("user_document.gap_key", c.UserDocument.GapKey)
	if c.NATS != nil {
		d.keepPrivate("nats.credentials_file", c.NATS.CredentialsFile)
		d.keepPrivate("nats.nkey_seed_file", c.NATS.NKeySeedFile)
	}
	c.private = d.private
	report := d.refuse
	if c.InsecureFilePermissions == permissionsWarn {
		report = d.warn
	}
	if d.plain != "" {
		if problem := insecurity(d.file); problem != "" {
			report := report
			if inClosedFolder(d.file) || mounted(d.file) {
				report = d.warn
			}
			report(codeOpenFile, d.plain, "is in plain text in this file, which %s, or the value as ${NAME} or file:PATH", problem)
		}
	}
	if problem := changeable(d.file); problem != "" && d.usable("") && !d.reported(codeOpenFile) {
		report(codeOpenFile, "", "%s", problem)
	}
	var checked []string
	check := func(f PrivateFile, problemOf func(string) string) {
		// Host keys are checked separately, and never accepted. The store is a folder of many
		// files.
		if f.Path == d.file || f.Setting == "store" || slices.Contains(c.Gateway.HostKeys, f.Path) || slices.Contains(checked, f.Path) {
			return
		}
		checked = append(checked, f.Path)
		if d.given(f.Setting) && !d.usable(f.Setting) {
			return
		}
		problem := problemOf(f.Path)
		if problem != "" {
			report := report
			if mounted(f.Path) {
				report = d.warn
			}
			report(codeOpenFile, f.Setting, "the file %s %s", quote(f.Path), problem)
		}
	}
	for _, f := range d.private {
		check(f, insecurity)
	}
	for _, f := range d.trusted {
		check(f, changeable)
	}
	d.warnings.sort()
	c.warnings = d.warnings
}

// warn adds a warning about the setting at path.
func (d *decoder) warn(code Code, path, format string, args ...any) {
	at := d.place(path)
	d.warnings = append(d.warnings, Mistake{File: d.file, Line: max(1, at.line), Column: max(1, at.column), Path: path, Code: code, Message: fmt.Sprintf(format, args...)})
}

// reported reports whether there is a mistake or a warning with a code.
func (d *decoder) reported(code Code) bool {
	has := func(m Mistake) bool { return m.Code == code }
	return slices.ContainsFunc(d.mistakes, has) || slices.ContainsFunc(d.warnings, has)
}

// keepTrusted records a file that is not secret, but decides who is trusted.
func (d *decoder) keepTrusted(path, file string) {
	if file != "" {
		d.trusted = append(d.trusted, PrivateFile{path, file})
	}
}

// changeable returns the reason why others than its owner can change a file, as the end of a
// sentence; "" if they cannot. The group of the owner alone, which has the same number, is no one
// else.
func changeable(file string) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	mode := info.Mode().Perm()
	st, ok := info.Sys().(*syscall.Stat_t)
	if mode&0o002 == 0 && (mode&0o020 == 0 || ok && st.Gid == st.Uid) {
		return ""
	}
	return fmt.Sprintf("can be changed by others (mode %04o); expected that only its owner may (chmod go-w sets it; insecure_file_permissions: warn accepts it)", mode)
}

// mounted reports whether a file is on a read-only file system in memory that belongs to root,
// as Kubernetes and Docker Swarm mount secrets into a container: no other user of the machine
// is there.
func mounted(file string) bool {
	var fs syscall.Statfs_t
	info, err := os.Stat(file)
	if err != nil || syscall.Statfs(file, &fs) != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	const tmpfs, readOnly = 0x01021994, 1 // TMPFS_MAGIC and ST_RDONLY of statfs(2)
	return ok && st.Uid == 0 && info.Mode().Perm()&0o022 == 0 && fs.Type == tmpfs && fs.Flags&readOnly != 0
}

// openToGroupAlone reports whether a file of root can be read by its group, but by nobody else, and
// this process is of that group: Kubernetes mounts secrets so with fsGroup and defaultMode: 0400.
// The group is then made for the pod.
func openToGroupAlone(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && os.Geteuid() != 0 && info.Mode().Perm()&0o037 == 0
}

// insecurity returns the reason why others than its owner can read a file, as the end of a
// sentence; "" if they cannot, or if the file does not exist.
func insecurity(file string) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && !openToGroupAlone(info) {
		remedy := "chmod 600 sets it"
		if isMountOfKubernetes(file) {
			remedy = "defaultMode: 0400 of the volume sets it, with fsGroup for a user other than root"
		} else if strings.HasPrefix(file, "/run/secrets/") {
			remedy = "mode: 0400 and uid of the service's secret set it, or chmod 600 of the file on the host"
		}
		return fmt.Sprintf("is open to others (mode %04o); expected mode 0600 (%s; insecure_file_permissions: warn accepts it)", mode, remedy)
	}
	if n := links(info); n > 1 {
		return fmt.Sprintf("has %d names (hard links), and sessions may see another one; expected one (find -xdev -samefile lists them; "+
			"insecure_file_permissions: warn accepts it)", n)
	}
	return ""
}

// isMountOfKubernetes reports whether a file is in a volume of a Secret or a ConfigMap, where names
// are symbolic links through "..data".
func isMountOfKubernetes(file string) bool {
	link, err := os.Readlink(file)
	return err == nil && strings.HasPrefix(link, "..data/")
}

// inClosedFolder reports whether a file is, directly or not, in a folder that only its owner may
// enter.
func inClosedFolder(file string) bool {
	path, err := filepath.Abs(file)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	for err == nil && path != "/" {
		path = filepath.Dir(path)
		var info fs.FileInfo
		if info, err = os.Stat(path); err == nil && info.Mode()&0o011 == 0 {
			return true
		}
	}
	return false
}

// links returns the number of names of a file.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// secretName matches parts of the names of variables whose values are secrets.
var secretName = regexp.MustCompile(`(?i)PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_?KEY`)

// urlWithPassword matches a URL with a user and a password.
var urlWithPassword = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]*:[^/?#@]+@`)

// secretInURL matches a URL with a user, or with a parameter that is probably a secret.
var secretInURL = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*://([^/?#]*@|[^?#]*\?([^#]*&)?[^=&#]*(pass|secret|token|key|sig|auth|code)[^=&#]*=)`)

// notePlain records that the secret at path is in plain text in the configuration itself. The
// variables of an app and the addresses of drains are secrets if their names or values suggest it.
func (d *decoder) notePlain(path, text string, f *field) {
	if d.plain != "" || strings.HasPrefix(text, "file:") || strings.Contains(strings.ReplaceAll(text, "$${", ""), "${") {
		return
	}
	secret := true
	switch f.as {
	case "env":
		name := path[strings.LastIndex(path, ".")+1:]
		secret = secretName.MatchString(name) || urlWithPassword.MatchString(text)
	case "url":
		secret = secretInURL.MatchString(text)
	}
	if secret {
		d.plain = path
	}
}
