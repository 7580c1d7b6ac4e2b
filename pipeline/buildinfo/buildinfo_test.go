package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestFrom(t *testing.T) {
	stamps := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.time", Value: "2026-01-31T09:30:00Z"}, {Key: "vcs.modified", Value: "true"},
	}
	const pseudoVersion = "v0.1.1-0.20260131093000-0123456789ab"
	for _, test := range []struct {
		name     string
		version  string
		settings []debug.BuildSetting
		want     Info
	}{
		{"go build in a repository", pseudoVersion + "+dirty", stamps,
			Info{Version: pseudoVersion + "+dirty", Commit: "0123456789abcdef0123456789abcdef01234567", Date: "2026-01-31T09:30:00Z", Modified: true}},
		{"go install of a tag", "v1.2.3", nil, Info{Version: "v1.2.3"}},
		{"go install of a commit", pseudoVersion, nil, Info{Version: pseudoVersion, Commit: "0123456789ab", Date: "2026-01-31T09:30:00Z"}},
		{"go install of a commit without a tag", "v0.0.0-20260131093000-0123456789ab", nil,
			Info{Version: "v0.0.0-20260131093000-0123456789ab", Commit: "0123456789ab", Date: "2026-01-31T09:30:00Z"}},
		{"-buildvcs=false", "(devel)", nil, Info{Version: Development}},
		{"no information", "", nil, Info{Version: Development}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := from(&debug.BuildInfo{Main: debug.Module{Version: test.version}, Settings: test.settings,
				Deps: []*debug.Module{{Path: natsModule, Version: "v2.12.0"}}})
			if got.Go == "" || got.Platform == "" || got.NATS != "v2.12.0" {
				t.Errorf("parts: %+v", got)
			}
			got.Go, got.Platform, got.NATS = "", "", ""
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}
