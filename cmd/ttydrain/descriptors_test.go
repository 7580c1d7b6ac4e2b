package main

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// TestDescriptors: whatever the limit and the settings, what connections may take leaves the store
// its part.
func TestDescriptors(t *testing.T) {
	for _, wanted := range []config.AdminLimits{{MaxConnections: 512, MaxConnectionsPerAddress: 128}, {MaxConnections: 8, MaxConnectionsPerAddress: 4}, {MaxConnections: 100000, MaxConnectionsPerAddress: 100000}} {
		starts := 0
		for _, limit := range []int{0, 64, 256, 400, 440, 512, 1024, 4096, 20000, 65536, 524288, 1 << 30} {
			b, err := divideDescriptors(limit, wanted)
			if err != nil {
				if limit >= 440 {
					t.Errorf("%d: %v", limit, err)
				}
				continue
			}
			starts++
			left := limit - b.admin.Connections - perConnection*b.gateway
			if left < minReserved || left < limit/4 || b.admin.Connections < 1 || b.admin.PerAddress < 1 || b.admin.PerAddress > b.admin.Connections || b.gateway < minGateway {
				t.Errorf("%d for %+v: %+v leaves %d", limit, wanted, b, left)
			}
			if b.admin.Connections > wanted.MaxConnections || b.admin.PerAddress > wanted.MaxConnectionsPerAddress {
				t.Errorf("%d for %+v: %+v is more than is wanted", limit, wanted, b)
			}
		}
		if starts < 7 {
			t.Errorf("only %d limits are enough", starts)
		}
	}
}
