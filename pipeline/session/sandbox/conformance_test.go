//go:build linux

package sandbox

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// TestConformance tests every kind of runtime. Slow tests run once, because they do not depend on
// the kind.
func TestConformance(t *testing.T) {
	for i, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			caps := newTestRuntime(t, k.most).Capabilities()
			sessiontest.Run(t, sessiontest.Subject{
				Runtime: func(t *testing.T) session.Runtime { return newTestRuntime(t, k.most) },
				Signals: true, Local: true, HostName: caps.Namespaces, Memory: caps.Memory != MemoryResourceLimit, Quick: i > 0,
			})
		})
	}
}
