package sandbox

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// A mount on a file is lost when the file is replaced: rename(2) detaches all mounts on its target
// in every other mount namespace. Therefore folders are covered: no later file can appear in a
// cover.

// secrets holds the private files of the gateway, as one session sees them.
type secrets struct {
	Covers []cover
	// Files identifies the private files, to recognize their hard links.
	Files []fileID
}

// cover hides a folder that contains private files.
type cover struct {
	// Dir is the folder's path in the session, without symbolic links.
	Dir string
	// Whole hides everything in the folder. Otherwise its other entries stay visible as they are
	// when the cover is created; see [hider.isPrivate].
	Whole bool
	// Names are the private entries of the folder.
	Names []string
	// ID identifies the folder: if another one replaces it, that needs a cover, too.
	ID fileID
}

// fileID identifies a file on this host.
type fileID struct{ Dev, Ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// statID identifies the file at path, without following a symbolic link.
func statID(path string) (fileID, bool) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return idOf(&st), err == nil
}

// secretsIn returns the private files and folders to hide in sessions whose root folder is root, ""
// for the host's. It ignores paths that do not exist.
func secretsIn(root string, private []string) (secrets, error) {
	if root != "" {
		resolved, err := filepath.EvalSymlinks(root)
		if err != nil {
			return secrets{}, rootRefusal(root, err)
		}
		root = strings.TrimSuffix(resolved, "/")
	}
	mounts, err := readMounts()
	if err != nil {
		return secrets{}, err
	}
	f := coverFinder{root: root, mounts: mounts, covers: make(map[string]*cover)}
	for _, path := range private {
		for _, at := range locations(path) {
			if err := f.add(at); err != nil {
				return secrets{}, err
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(f.covers)) { // parents first
		c := f.covers[dir]
		slices.Sort(c.Names)
		c.Names = slices.Compact(c.Names)
		f.found.Covers = append(f.found.Covers, *c)
	}
	return f.found, nil
}

// CheckPrivate returns an error if a private file cannot be hidden from sessions without hiding too
// much, because of the folder that contains it.
func CheckPrivate(path string) error {
	for _, at := range locations(path) {
		info, err := os.Stat(filepath.Dir(at))
		if err != nil || info.Mode()&0o077 == 0 || isFolder(at) {
			continue
		}
		folder, err := os.Open(filepath.Dir(at))
		if err != nil {
			continue // a folder that cannot be listed is hidden completely
		}
		names, err := folder.Readdirnames(maxEntries + 1)
		folder.Close()
		if err == nil && len(names) > maxEntries {
			return fmt.Errorf("the folder %s has more than %d entries, from which sessions cannot be shown all but the private ones: "+
				"move ttydrain's files to a folder of their own", filepath.Dir(at), maxEntries)
		}
	}
	return nil
}

// locations returns the path of a file without symbolic links in its folder and, if the file is a
// symbolic link, the paths of its targets, one after another: each of them can be replaced.
func locations(path string) []string {
	const maxLinks = 40 // like the kernel
	var found []string
	path, err := filepath.Abs(path)
	for range maxLinks {
		if err != nil {
			return found
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return found // the folder does not exist
		}
		path = filepath.Join(dir, filepath.Base(path))
		found = append(found, path)
		target, err := os.Readlink(path)
		if err != nil {
			return found
		}
		if path = target; !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
	}
	return found
}

// coverFinder collects the covers for sessions with one root folder.
type coverFinder struct {
	root   string // "" for the host's
	mounts []mountPoint
	covers map[string]*cover // by folder in the session
	found  secrets
}

// add adds the covers for one location of a private file, which need not exist.
func (f *coverFinder) add(path string) error {
	var st unix.Stat_t
	exists := unix.Lstat(path, &st) == nil
	if exists && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		for _, alias := range f.aliases(path, true) {
			if err := f.cover(alias, ""); err != nil {
				return err
			}
		}
		return nil
	}
	if exists && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		f.found.Files = append(f.found.Files, idOf(&st))
	}
	at := make(map[string]bool)
	for _, dir := range f.aliases(filepath.Dir(path), false) {
		at[filepath.Join(dir, filepath.Base(path))] = true
	}
	for _, alias := range f.aliases(path, false) { // where the file itself is mounted
		at[alias] = true
	}
	for alias := range at {
		if err := f.cover(filepath.Dir(alias), filepath.Base(alias)); err != nil {
			return err
		}
	}
	return nil
}

// cover covers a folder of the host to hide one entry, or all if name is "".
func (f *coverFinder) cover(dir, name string) error {
	inside, visible := f.inSession(dir)
	if !visible {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil // deleted, with its content
	}
	if name == "" && inside == "/" {
		return &session.Refusal{Message: fmt.Sprintf("The app's root folder %s has ttydrain's own files in it. Correct the app's root.", dir)}
	}
	c := f.covers[inside]
	if c == nil {
		// A folder that is closed to others is considered private as a whole.
		c = &cover{Dir: inside, ID: idOf(&st), Whole: st.Mode&0o077 == 0 && inside != "/"}
		f.covers[inside] = c
	}
	if name == "" {
		c.Whole = true
	} else {
		c.Names = append(c.Names, name)
	}
	return nil
}

// inSession returns the path in the session of a folder of the host.
func (f *coverFinder) inSession(dir string) (string, bool) {
	rest, ok := below(cmp.Or(f.root, "/"), dir)
	return "/" + strings.TrimPrefix(rest, "/"), ok
}

// aliases returns the paths at which a file or folder is visible: its own, and those through other
// mounts of its file system. With inner set, they include mounts of its subfolders.
func (f *coverFinder) aliases(path string, inner bool) []string {
	found := []string{path}
	own := -1
	for i, m := range f.mounts { // the last of the longest ones
		if _, below := below(m.at, path); below && (own < 0 || len(m.at) >= len(f.mounts[own].at)) {
			own = i
		}
	}
	if own < 0 {
		return found
	}
	rest, _ := below(f.mounts[own].at, path)
	inFS := filepath.Join(f.mounts[own].root, rest)
	id, exists := statID(path)
	for _, m := range f.mounts {
		if m.device != f.mounts[own].device {
			continue
		}
		if rest, ok := below(m.root, inFS); ok {
			alias := filepath.Join(m.at, rest)
			if other, ok := statID(alias); ok && exists && other == id && !slices.Contains(found, alias) {
				found = append(found, alias)
			}
		} else if rest, ok := below(inFS, m.root); inner && ok && !slices.Contains(found, m.at) {
			if _, inside := below(path, m.at); rest != "" && !inside {
				found = append(found, m.at)
			}
		}
	}
	return found
}

// below returns the rest of a path that is dir or is below it.
func below(dir, path string) (rest string, ok bool) {
	if dir == "/" || path == dir {
		return strings.TrimPrefix(path, dir), true
	}
	rest, ok = strings.CutPrefix(path, dir+"/")
	return rest, ok
}

// mountPoint is a line of mountinfo (proc_pid_mountinfo(5)).
type mountPoint struct{ device, root, at string }

func readMounts() ([]mountPoint, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mounts of this host: %w", err)
	}
	return parseMounts(table), nil
}

func parseMounts(table []byte) []mountPoint {
	var mounts []mountPoint
	for line := range bytes.Lines(table) {
		// 36 35 98:0 /root /mount/point options… - type source superoptions
		fields := strings.Fields(string(line))
		if len(fields) < 5 {
			continue
		}
		mounts = append(mounts, mountPoint{device: fields[2], root: unescape(fields[3]), at: unescape(fields[4])})
	}
	return mounts
}

// unescape decodes the octal escapes of mountinfo.
func unescape(path string) string {
	if !strings.Contains(path, `\`) {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+4 <= len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
