//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package client

import "golang.org/x/sys/unix"

const (
	readTermios       = unix.TIOCGETA
	flushWriteTermios = unix.TIOCSETAF
)

// flushInput discards the unread input of a terminal.
func flushInput(fd int) error {
	const fread = 1 // of <sys/fcntl.h>
	return unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, fread)
}

// localModes returns nil, so that the server's default modes apply.
func localModes(int) []byte { return nil }
