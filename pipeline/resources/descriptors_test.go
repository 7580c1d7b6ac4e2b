package resources

import (
	"testing"
)

// TestDescriptors: whatever the limit and the settings, what connections may take leaves the store
// its part.
func TestDescriptors(t *testing.T) {
	for _, wanted := range []AdminConnections{{512, 128, 16}, {8, 4, 16}, {100000, 100000, 16}} {
		starts := 0
		for _, limit := range []int{0, 64, 256, 400, 440, 512, 1024, 4096, 20000, 65536, 524288, 1 << 30} {
			b, err := divide(limit, wanted)
			if err != nil {
				if limit >= 440 {
					t.Errorf("%d: %v", limit, err)
				}
				continue
			}
			starts++
			left := limit - b.Admin - perConnection*b.Gateway
			if left < minReserved || left < limit/4 || b.Admin < 1 || b.AdminPerAddress < 1 || b.AdminPerAddress > b.Admin || b.Gateway < minGateway {
				t.Errorf("%d for %+v: %+v leaves %d", limit, wanted, b, left)
			}
			if b.Admin > wanted.Max || b.AdminPerAddress > wanted.PerAddress {
				t.Errorf("%d for %+v: %+v is more than is wanted", limit, wanted, b)
			}
		}
		if starts < 7 {
			t.Errorf("only %d limits are enough", starts)
		}
	}
}
