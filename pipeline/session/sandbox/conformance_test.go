//go:build linux

package sandbox

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

func TestConformance(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			sessiontest.Run(t, sessiontest.Subject{
				Runtime: func(t *testing.T) session.Runtime { return newTestRuntime(t, k.most) },
				Signals: true, Local: true, HostName: k.most.Namespaces,
			})
		})
	}
}
