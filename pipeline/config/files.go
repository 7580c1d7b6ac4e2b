package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
)

var (
	errMissing = errors.New("does not exist")
	errFolder  = errors.New("is a folder, not a file")
	errSpecial = errors.New("is not a regular file")
	errDenied  = errors.New("may not be read by this user")
)

// Files are the files that a configuration was read from, each as it was then: the configuration
// itself, and the files of keys, secrets, certificates and credentials that it names. The host key
// is none of them: it is read at the start alone. The zero value has no files.
type Files struct {
	seen map[string]fs.FileInfo // by path; nil for one that could not be looked at
}

// look notes a file as it is when it is first called for it. That is before the file is read, so
// that a change meanwhile is seen later.
func (f *Files) look(path string) {
	if _, before := f.seen[path]; before {
		return
	}
	if f.seen == nil {
		f.seen = make(map[string]fs.FileInfo)
	}
	info, err := os.Stat(path) // of what a symbolic link leads to
	if err != nil {
		info = nil
	}
	f.seen[path] = info
}

// Made takes note of a file that ttydrain itself has made since, because it was missing: that is no
// change.
func (f Files) Made(path string) {
	if info, known := f.seen[path]; !known || info != nil {
		return
	}
	delete(f.seen, path)
	f.look(path)
}

// Now are the same files, as they are now.
func (f Files) Now() Files {
	var now Files
	for path := range f.seen {
		now.look(path)
	}
	return now
}

// Same says whether both are the same files, and none of them was changed, replaced, made or
// removed between. It goes by inode, size, time and mode: a file that is written in place with as
// many bytes within one tick of the file system's clock looks the same.
func (f Files) Same(other Files) bool {
	return maps.EqualFunc(f.seen, other.seen, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
	})
}

// readFile is the function readFile, and notes the file in d.files.
func (d *decoder) readFile(path string, limit int64) ([]byte, error) {
	d.files.look(path)
	return readFile(path, limit)
}

// readFile reads a regular file of up to limit bytes. Its errors go on after the file's name, which
// they leave out, as does the cause.
func readFile(path string, limit int64) ([]byte, error) {
	// A pipe or a device would hold up the load: it is looked at before it is opened.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fileError(err)
	case info.IsDir():
		return nil, errFolder
	case !info.Mode().IsRegular():
		return nil, errSpecial
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is longer than %d KiB", limit>>10)
	}
	return data, nil
}

// checkFolder says what keeps path from being a folder that exists.
func checkFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fileError(err)
	}
	if !info.IsDir() {
		return errors.New("is not a folder")
	}
	return nil
}

// checkCreatable returns an error where a path that does not exist can never be made: something
// above it is no folder.
func checkCreatable(path string) error {
	for {
		parent := filepath.Dir(path)
		if parent == path {
			return nil
		}
		path = parent
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("cannot be made, since %s is not a folder", quote(path))
		case err == nil:
			return nil
		case !errors.Is(fileError(err), errMissing):
			return fileError(err)
		}
	}
}

func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return errMissing
	case errors.Is(err, fs.ErrPermission):
		return errDenied
	}
	// Only the cause: the path would stand in the message twice.
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}
