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
	_, port, _ := net.SplitHostPort(address) // it was checked
	remedy := "set a host and a port of this machine, such as 127.0.0.1:" + port
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = fmt.Sprintf("is another ttydrain running? stop what listens there (ss -ltnp 'sport = :%s' shows it), or set another port", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "the address is not one of this machine: set one that is, or 0.0.0.0 for all"
	case errors.Is(err, fs.ErrPermission):
		remedy = "set a port from 1024 on, or permit the program to use lower ones (AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd)"
	}
	return nil, fmt.Errorf("%s: %w: %s", c.Place(setting), err, remedy)
}

// storeError returns the error of opening the embedded server's store, with the place of the
// setting and the remedy.
func storeError(c *config.Config, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = ": let the user of this process write there, or set another folder"
	case errors.Is(err, fs.ErrNotExist):
		remedy = ": the folder cannot be created there: set another one"
	case errors.Is(err, syscall.EROFS):
		remedy = ": the file system is mounted read-only: set a folder on another one"
	case errors.Is(err, syscall.ENOSPC):
		remedy = ": free space on the disk, or set a folder on another one"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		remedy = ": a part of the path is a file: set a folder"
	}
	return fmt.Errorf("%s: %w%s", c.Place("store"), err, remedy)
}
