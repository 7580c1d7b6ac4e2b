package clienttest

import (
	"os"
	"os/signal"
	"syscall"
)

// ResetSignals resets signals that this process inherited as ignored, for the programs that it
// starts: under nohup, and when a shell starts it in the background, they could not be interrupted
// and would not end when their terminal is closed. The process itself still ignores these signals.
// Call it at the beginning of TestMain.
func ResetSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // caught signals are reset to the default in child processes
		}
	}
}
