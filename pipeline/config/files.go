package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

var (
	errMissing = errors.New("does not exist")
	errFolder  = errors.New("is a folder, not a file")
	errSpecial = errors.New("is not a regular file")
	errDenied  = errors.New("may not be read by this user")
)

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
