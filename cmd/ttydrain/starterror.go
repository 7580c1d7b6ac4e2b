package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// listen listens at the address of a setting. Its error has the place of the setting.
func listen(c *config.Config, setting, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	return nil, fmt.Errorf("%s: %w%s", c.Place(setting), err, listenRemedy(address, err))
}

// listenRemedy returns what to do about an error of listening at an address, after a colon.
func listenRemedy(address string, err error) string {
	_, port, _ := net.SplitHostPort(address) // it was checked
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": is another ttydrain running? stop what listens there (ss -ltnp 'sport = :%s' shows it), or set another port", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": the address is not one of this machine: set one that is, or 0.0.0.0 for all"
	case errors.Is(err, fs.ErrPermission):
		return ": set a port from 1024 on, or permit the program to use lower ones (AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd)"
	}
	return ": set a host and a port of this machine, such as 127.0.0.1:" + port
}

// storeError returns the error of opening the embedded server's store, with the place of the
// setting and the remedy.
func storeError(c *config.Config, err error) error { return pathError(c, "store", "folder", err) }

// pathError returns the error of creating the file or folder (kind) of a setting, with the place of
// the setting and the remedy.
func pathError(c *config.Config, setting, kind string, err error) error {
	return fmt.Errorf("%s: %w%s", c.Place(setting), err, pathRemedy(kind, err))
}

// pathRemedy returns what to do about an error of creating a file or folder, after a colon.
func pathRemedy(kind string, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ": let the user of this process write there, or set another " + kind
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf(": the %s cannot be created there: set another one", kind)
	case errors.Is(err, syscall.EROFS):
		return fmt.Sprintf(": the file system is mounted read-only: set a %s on another one", kind)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Sprintf(": free space on the disk, or set a %s on another one", kind)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Sprintf(": a part of the path is a file: set another %s", kind)
	}
	return ""
}
