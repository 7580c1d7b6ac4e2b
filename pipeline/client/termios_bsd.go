//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package client

import "golang.org/x/sys/unix"

const (
	readTermios       = unix.TIOCGETA
	flushWriteTermios = unix.TIOCSETAF
)

// flushInput drops what was typed on a terminal and not read.
func flushInput(fd int) error {
	const fread = 1 // of <sys/fcntl.h>
	return unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, fread)
}

// localModes leaves the session's terminal with the server's own modes.
func localModes(int) []byte { return nil }
