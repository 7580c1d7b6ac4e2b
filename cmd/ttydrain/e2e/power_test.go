package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/bus/bustest"
)

// TestPowerFails has the power fail while sessions show much output: everything that any client
// displayed was on the disk before. Nothing that drains have is lost, so that nothing else can take
// its sequence.
func TestPowerFails(t *testing.T) {
	t.Parallel()
	// When little was recorded, and when the streams have several files.
	for _, moment := range []int{10 << 10, 4 << 20} {
		t.Run(fmt.Sprintf("behind %d KiB", moment>>10), func(t *testing.T) {
			t.Parallel()
			drains := []*destination{httpsDrain(t, "ndjson", ", format: ndjson")}
			site := newSite(t, withoutRaces, entries(drains))
			disk := bustest.NewPowerDisk(t, site.store, 256)
			server := site.serve()
			watchers, clients := server.showMuch()
			for i, w := range watchers {
				await(t, fmt.Sprintf("for client %d to have seen enough", i), func() bool { return w.len() > moment })
			}
			server.signal(syscall.SIGSTOP)
			left := disk.Fail()
			server.signal(syscall.SIGKILL)
			server.status()
			clients.Wait()
			displayed := make(map[string][]byte)
			displayedBy(t, watchers, displayed)
			if len(displayed) != len(watchers) {
				t.Fatalf("%d sessions have shown something", len(displayed))
			}
			site.edit("store: ./data", "store: "+left)
			server = site.serve()
			mustHave(t, drains, displayed)
			if status := server.stop(); status != 0 {
				t.Errorf("serve ended with %d", status)
			}
		})
	}
}
