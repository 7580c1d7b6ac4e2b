package resources

import "runtime"

// addProcessors raises GOMAXPROCS, so that goroutines that wait for the disk leave all processors
// to the others.
//
// A goroutine in a system call keeps its place among the running ones until the runtime notices,
// which can take longer than the disk does. With two processors, two writers can hold both places:
// then no terminal is read and no client served while both processors are idle.
//
// From then on, the runtime does not follow changes of the processor limit.
func addProcessors(diskWriters int) { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + diskWriters) }
