package process

import (
	"os"
	"runtime/pprof"
	"time"
)

// pipelineAnswer is the answer to askStop, and the other ones' with nothing in it.
type Usage struct {
	Processor  time.Duration // used from askGo to askStop
	PeakMemory int64         // of the process in that time, in bytes
}

// measured does some work, and gives what it took.
func MeasureUsage(work func() error) (Usage, error) {
	before := CPUTime()
	if err := work(); err != nil {
		return Usage{}, err
	}
	used := CPUTime() - before
	now, err := MemoryOf(os.Getpid())
	return Usage{used, now.Peak}, err
}

// startProfile begins a processor profile; it is whole after pprof.StopCPUProfile.
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
