//go:build !linux

package sandbox

import (
	"context"
	"errors"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

var errNotLinux = errors.New("the sandbox runtime needs Linux: run the gateway on a Linux host, or give the app another runtime")

// Runtime is not available on this system.
type Runtime struct{}

// New returns an error: the sandbox runtime needs Linux.
func New(Options) (*Runtime, error) { return nil, errNotLinux }

// Capabilities returns no capabilities.
func (*Runtime) Capabilities() Capabilities { return Capabilities{} }

// Start returns an error.
func (*Runtime) Start(context.Context, session.Spec) (session.Process, error) {
	return nil, errNotLinux
}

// Conceal does nothing.
func (*Runtime) Conceal() {}

// Close does nothing.
func (*Runtime) Close() error { return nil }

// CheckPrivate returns nil.
func CheckPrivate(string) error { return nil }

// InitMain returns false: there are no session inits on this system.
func InitMain() bool { return false }
