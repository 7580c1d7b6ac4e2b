package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxEntries limits the entries of a folder that is covered but not hidden completely: each of them
// is a mount in every session.
const maxEntries = 4096

// hider hides the gateway's private files in the mount namespace of one session. It must not be
// used concurrently.
type hider struct {
	owner int // the gateway's user
	// scratch holds the session's own folders, which contain nothing of the host.
	scratch []string
	private map[fileID]bool
	covered map[string]covered // by folder
}

// covered is a folder that has a cover.
type covered struct {
	device uint64   // of the cover's file system
	names  []string // hidden entries; nil if all are hidden
}

func newHider(s *setup) *hider {
	h := &hider{owner: s.Gateway.UID, private: make(map[fileID]bool), covered: make(map[string]covered)}
	for _, id := range s.Secrets.Files {
		h.private[id] = true
	}
	return h
}

// keepScratch adds folders of the session itself.
func (h *hider) keepScratch(dirs ...string) {
	for _, dir := range dirs {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			h.scratch = append(h.scratch, resolved)
		}
	}
}

// hide covers the folders of the private files, including folders that were covered before and have
// been replaced since.
func (h *hider) hide(s secrets) error {
	for _, id := range s.Files {
		h.private[id] = true
	}
	for _, c := range s.Covers {
		if err := h.cover(c); err != nil {
			return fmt.Errorf("hiding the gateway's files in %s: %w", c.Dir, err)
		}
	}
	return nil
}

func (h *hider) cover(c cover) error {
	for _, dir := range h.scratch {
		if _, inside := below(dir, c.Dir); inside {
			return nil
		}
		if _, inside := below(c.Dir, dir); inside {
			c.Whole = false
		}
	}
	for dir, before := range h.covered {
		if _, inside := below(dir, c.Dir); inside && dir != c.Dir && before.names == nil && h.isCover(dir, before) {
			return nil // hidden with the whole folder above
		}
	}
	if before, ok := h.covered[c.Dir]; ok && c.Dir == "/" || ok && h.isCover(c.Dir, before) {
		return h.coverMore(c, before)
	}
	return h.replace(c, c.Dir, c.Dir)
}

// isCover reports whether the folder at dir is still the cover.
func (h *hider) isCover(dir string, before covered) bool {
	id, ok := statID(dir)
	return ok && id.Dev == before.device
}

// coverMore hides entries of a covered folder that have become private since.
func (h *hider) coverMore(c cover, before covered) error {
	if before.names == nil {
		return nil
	}
	names := c.Names
	if c.Whole {
		entries, err := os.ReadDir(c.Dir)
		if err != nil {
			return errnoText(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		if slices.Contains(before.names, name) {
			continue
		}
		// The entry belongs to the cover, where it cannot be replaced. The target of a symbolic
		// link has its own cover.
		path := filepath.Join(c.Dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSymlink {
			if err := hide(path); err != nil {
				return err
			}
		}
		before.names = append(before.names, name)
	}
	h.covered[c.Dir] = before
	return nil
}

// replace mounts the cover of the folder source at target; they only differ for a root folder.
func (h *hider) replace(c cover, source, target string) error {
	from, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil // nothing to hide
	}
	if err != nil {
		return err
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	names, err := namesIn(from)
	if err != nil || c.Whole { // a folder that cannot be listed cannot be shown
		if err := mountEmpty(target); err != nil {
			return err
		}
		return h.note(c.Dir, target, nil)
	}
	if len(names) > maxEntries {
		return fmt.Errorf("the folder has %d entries, and %d at most can be shown without the private ones: "+
			"move ttydrain's files to a folder of their own", len(names), maxEntries)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	options := fmt.Sprintf("mode=%o,size=1m,nr_inodes=%d", st.Mode&0o7777, 2*maxEntries)
	if err := unix.Mount("tmpfs", target, "tmpfs", flags, options); err != nil {
		return err
	}
	to, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	for _, name := range names {
		h.show(from, to, name, c.Names)
	}
	unix.Fchownat(to, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH) // only for display: the cover is read-only
	if c.Dir != "/" {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
			return err
		}
	}
	return h.note(c.Dir, target, append([]string{}, c.Names...))
}

// note records the cover that was mounted at target.
func (h *hider) note(dir, target string, names []string) error {
	id, ok := statID(target)
	if !ok {
		return fmt.Errorf("the cover at %s does not exist", target)
	}
	h.covered[dir] = covered{device: id.Dev, names: names}
	return nil
}

// mountEmpty hides a folder completely.
func mountEmpty(target string) error {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return unix.Mount("tmpfs", target, "tmpfs", flags, "mode=000,size=4k")
}

// namesIn lists a folder that was opened with O_PATH.
func namesIn(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "folder")
	defer f.Close()
	return f.Readdirnames(-1)
}

// show makes an entry of a folder visible in its cover, unless it may be private. An entry that
// cannot be shown, or that vanishes meanwhile, is missing or empty there. Symbolic links are not
// followed.
func (h *hider) show(from, to int, name string, private []string) {
	entry, err := unix.Openat(from, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(entry)
	var st unix.Stat_t
	if unix.Fstat(entry, &st) != nil || h.isPrivate(name, &st, private) {
		return
	}
	flags := uintptr(unix.MS_BIND)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		if n, err := unix.Readlinkat(entry, "", target); err == nil {
			unix.Symlinkat(string(target[:n]), to, name)
		}
		return
	case unix.S_IFDIR:
		if unix.Mkdirat(to, name, 0o755) != nil {
			return
		}
		var cover unix.Stat_t
		if unix.Fstat(to, &cover) == nil && cover.Dev == st.Dev {
			return // the mount point of the root folder's cover
		}
		flags |= unix.MS_REC
	default:
		file, err := unix.Openat(to, name, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_WRONLY, 0o444)
		if err != nil {
			return
		}
		unix.Close(file)
	}
	unix.Mount(fdPath(entry), filepath.Join(fdPath(to), name), "", flags, "")
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// isPrivate reports whether an entry of a folder with private files may be private as well: a file
// that is one of them, by its name or by a hard link; one whose name is derived from theirs, such
// as an editor's backup; or one that only its owner, the gateway, can access, as required for every
// secret of ttydrain.
func (h *hider) isPrivate(name string, st *unix.Stat_t, private []string) bool {
	if slices.Contains(private, name) {
		return true
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	return h.private[idOf(st)] || int(st.Uid) == h.owner && st.Mode&0o077 == 0 ||
		slices.ContainsFunc(private, func(of string) bool { return isDerived(name, of) })
}

// isDerived reports whether a name contains another one, with no letter or digit beside it:
// key.pem~, .key.pem.swp and #key.pem# are derived from key.pem.
func isDerived(name, of string) bool {
	for rest, at := name, 0; ; {
		i := strings.Index(rest, of)
		if i < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(name[:at+i])
		after, _ := utf8.DecodeRuneInString(rest[i+len(of):])
		if !isWord(before) && !isWord(after) {
			return true
		}
		rest, at = rest[i+1:], at+i+1
	}
}

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }
