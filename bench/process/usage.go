package process

import (
	"os"
	"runtime/pprof"
	"time"
)

// Usage is the CPU time and memory of some work.
type Usage struct {
	Processor  time.Duration // user and system time
	PeakMemory int64         // peak resident memory of the process, in bytes
}

// MeasureUsage calls work and returns its usage.
func MeasureUsage(work func() error) (Usage, error) {
	before := CPUTime()
	if err := work(); err != nil {
		return Usage{}, err
	}
	used := CPUTime() - before
	now, err := MemoryOf(os.Getpid())
	return Usage{used, now.Peak}, err
}

// StartProfile starts a CPU profile, unless file is "". pprof.StopCPUProfile completes the file.
func StartProfile(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}
