//go:build linux

package sandbox

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// TestConformance is with all that the host allows; this package's own tests are with less, too.
func TestConformance(t *testing.T) {
	k := kinds()[0]
	sessiontest.Run(t, sessiontest.Subject{
		Runtime: func(t *testing.T) session.Runtime { return newTestRuntime(t, k.most) },
		Signals: true, Local: true, HostName: true,
	})
}
