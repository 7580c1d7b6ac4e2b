package clienttest

import (
	"os"
	"os/signal"
	"syscall"
)

// HeedSignals has the programs that this process starts not ignore signals which it ignores itself:
// under nohup, and where a shell runs it in the background. No program of a terminal can be
// interrupted then, nor ends when its window is closed. This process goes on ignoring them. It is
// for the beginning of TestMain.
func HeedSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // what a process catches, the programs that it starts do not ignore
		}
	}
}
