package report

import (
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/bench/measure"
)

func TestSSHBars(t *testing.T) {
	results := []measure.Result{
		{Subject: "ssh/openssh", Samples: []measure.Sample{{measure.EchoP50: 0.1, measure.CatRate: 80}, {measure.EchoP50: 0.2, measure.CatRate: 50}, {measure.EchoP50: 0.1, measure.CatRate: 90}}},
		{Subject: "ssh/openssh+tlog", Samples: []measure.Sample{{measure.CatRate: 25}, {measure.CatRate: 20}, {measure.CatRate: 15}}},
		{Subject: "ssh/ttydrain", Samples: []measure.Sample{{measure.EchoP50: 0.5, measure.CatRate: 68}, {measure.EchoP50: 5.2, measure.CatRate: 45}, {measure.EchoP50: 0.4, measure.CatRate: 45}}},
		{Subject: "sessions/ttydrain", Samples: []measure.Sample{{measure.ServerKiB: 200, measure.ServerAllKiB: 5000}}},
	}
	got := strings.Join(New(&measure.Settings{}, results).SSHBars, "\n")
	const want = "bar: echo p50 ≤ OpenSSH's + 1 ms: 0.40, reached\n" +
		"bar: `cat` ≥ 0.8 × OpenSSH: 0.85, reached\n" +
		"bar: `cat` ≥ 3 × OpenSSH with tlog: 2.72, **missed**\n" +
		"bar: the gateway's memory per session ≤ 256 KiB: 200.00, reached\n" +
		"bar: the same with the session's init ≤ 256 KiB: 5000.00, **missed**"
	if got != want {
		t.Errorf("the bars are\n%s\nexpected\n%s", got, want)
	}
}
