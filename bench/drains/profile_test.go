package drains

import (
	"maps"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/ttydrain/ttydrain/bench/measure"
)

func TestShares(t *testing.T) {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	for stack, nanoseconds := range map[[3]string]int64{
		{"runtime.memmove", "crypto/tls.(*Conn).Write", "net/http.(*persistConn).writeLoop"}:                                     30,
		{"runtime.memmove", "github.com/ttydrain/ttydrain/enrich.scan", "github.com/ttydrain/ttydrain/pipeline/router.(*x).run"}: 20,
		{"runtime.growslice", "github.com/ttydrain/ttydrain/enrich.(*Transcript).emit", "runtime.goexit"}:                        20,
		{"syscall.Syscall", "github.com/nats-io/nats-server/v2/server.(*fileStore).StoreMsg", "runtime.goexit"}:                  20,
		{"main.(*x).y", "main.main", "runtime.main"}:                                                                             10,
	} {
		s := &profile.Sample{Value: []int64{1, nanoseconds}}
		for _, name := range stack {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		p.Sample = append(p.Sample, s)
	}
	want := measure.Sample{measure.ProfileShare + "TLS": 30, measure.ProfileShare + "texts": 20, measure.ProfileShare + "enriching": 20, measure.ProfileShare + "NATS server": 20, measure.ProfileShare + measure.OtherPart: 10}
	if got := shares(p); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
