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
			if inClosedFolder(d.file) {
				report = d.warn
			}
			report(d.plain, "is in plain text in this file, which %s, or the value as ${NAME} or file:PATH", problem)
		}
	}
	var checked []string
	for _, f := range d.private {
		// Host keys are checked separately, and never accepted. The store is a folder of many
		// files.
		if f.Path == d.file || f.Setting == "store" || slices.Contains(c.Gateway.HostKeys, f.Path) || slices.Contains(checked, f.Path) {
			continue
		}
		checked = append(checked, f.Path)
		if problem := insecurity(f.Path); problem != "" && (!d.given(f.Setting) || d.usable(f.Setting)) {
			report(f.Setting, "the file %s %s", quote(f.Path), problem)
		}
	}
	d.warnings.sort()
	c.warnings = d.warnings
}

// warn adds a warning about the setting at path.
func (d *decoder) warn(path, format string, args ...any) {
	at := d.place(path)
	d.warnings = append(d.warnings, Mistake{File: d.file, Line: max(1, at.line), Column: max(1, at.column), Path: path, Message: fmt.Sprintf(format, args...)})
}

// insecurity returns the reason why others than its owner can read a file, as the end of a
// sentence; "" if they cannot, or if the file does not exist.
func insecurity(file string) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Sprintf("is open to others (mode %04o); expected mode 0600 (chmod 600 sets it; insecure_file_permissions: warn accepts it)", mode)
	}
	if n := links(info); n > 1 {
		return fmt.Sprintf("has %d names (hard links), and sessions may see another one; expected one (find -xdev -samefile lists them; "+
			"insecure_file_permissions: warn accepts it)", n)
	}
	return ""
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
