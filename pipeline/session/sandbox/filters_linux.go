package sandbox

import "sync"

// filters are the filters of system calls that were made so far. Making one takes long, for what it
// is: it is searched for the shortest program.
type filters struct {
	mu   sync.Mutex
	made map[bool][]filterInstruction // guarded by mu; by ownProcesses of newFilter
}

// get gives the filter that newFilter makes.
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
