//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package client

import "golang.org/x/sys/unix"

const (
	readTermios       = unix.TIOCGETA
	flushWriteTermios = unix.TIOCSETAF
)

// localModes leaves the session's terminal with the server's own modes.
func localModes(int) []byte { return nil }
