package main

import (
	"os"
	"runtime"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
)

// leaveRoomForWriters has Go run as many goroutines at a time as there are processors, and the
// writers besides.
//
// A goroutine that waits for the disk holds one of the places that Go has for those that run, until
// Go notices that, which can take longer than the disk does. With two processors both places can be
// held so, and then a terminal is not read, and a client gets nothing, while the processors have
// nothing to do.
//
// Who sets GOMAXPROCS in the environment has decided. Where there are writers, Go no longer follows
// a limit of processors that is changed while it runs.
func leaveRoomForWriters(c *config.Config) {
	n := runtime.GOMAXPROCS(0)
	if want := atOnce(c, os.Getenv("GOMAXPROCS") != "", n); want != n {
		runtime.GOMAXPROCS(want)
	}
}

// atOnce is how many goroutines run at a time where Go would have n of them.
func atOnce(c *config.Config, decided bool, n int) int {
	if decided || c.NATS != nil || c.SyncInterval > 0 {
		return n
	}
	return n + bus.Writers
}
