package sandbox

// refusedOnArchitecture are the calls that are refused beside refusedSyscalls: arm64 has no others.
func refusedOnArchitecture() []uintptr { return nil }
