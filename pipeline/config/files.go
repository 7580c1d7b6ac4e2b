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

// Files are the files that a configuration was read from, with their state at that time: the
// configuration itself, and the files of keys, secrets, certificates and credentials that it names.
// The host key is not included: it is only read at the start. The zero value is empty.
type Files struct {
	seen map[string]fs.FileInfo // by path; nil for a file without information
}

// look records the state of a file on the first call for it. It is called before the file is read,
// so that a concurrent change is noticed later.
func (f *Files) look(path string) {
	if _, before := f.seen[path]; before {
		return
	}
	if f.seen == nil {
		f.seen = make(map[string]fs.FileInfo)
	}
	info, err := os.Stat(path) // of the target of a symbolic link
	if err != nil {
		info = nil
	}
	f.seen[path] = info
}

// Made records a file that ttydrain itself has created because it was missing, which does not count
// as a change.
func (f Files) Made(path string) {
	if info, known := f.seen[path]; !known || info != nil {
		return
	}
	delete(f.seen, path)
	f.look(path)
}

// Now returns the current state of the same files.
func (f Files) Now() Files {
	var now Files
	for path := range f.seen {
		now.look(path)
	}
	return now
}

// Same reports whether both are the same files, and none of them was changed, replaced, created or
// removed. It compares inode, size, time and mode: a file that is overwritten in place with the
// same size within one tick of the file system's clock looks the same.
func (f Files) Same(other Files) bool {
	return maps.EqualFunc(f.seen, other.seen, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
	})
}

// readFile calls the function readFile and records the file in d.files.
func (d *decoder) readFile(path string, limit int64) ([]byte, error) {
	d.files.look(path)
	return readFile(path, limit)
}

// readFile reads a regular file of up to limit bytes. Its errors follow the file's name, which they
// omit, in a message.
func readFile(path string, limit int64) ([]byte, error) {
	// Check before opening: a pipe or a device would block.
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

// checkFolder returns an error unless path is an existing folder.
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

// checkCreatable returns an error if a path that does not exist cannot be created because a parent
// is not a folder.
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
			return fmt.Errorf("cannot be created, because %s is not a folder", quote(path))
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
	// Only the cause: otherwise the message would repeat the path.
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}
