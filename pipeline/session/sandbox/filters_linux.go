package sandbox

import "sync"

// filters caches the system call filters. Building one is slow, because it searches for the
// shortest program.
type filters struct {
	mu   sync.Mutex
	made map[bool][]filterInstruction // guarded by mu; by ownProcesses of newFilter
}

// get returns the filter that newFilter builds.
func (f *filters) get(ownProcesses bool) ([]filterInstruction, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if filter, ok := f.made[ownProcesses]; ok {
		return filter, nil
	}
	filter, err := newFilter(ownProcesses)
	if err != nil {
		return nil, err
	}
	if f.made == nil {
		f.made = make(map[bool][]filterInstruction)
	}
	f.made[ownProcesses] = filter
	return filter, nil
}
