// Package buildinfo describes the running program: its version, the commit that it was built from,
// and the versions of its parts.
package buildinfo

import (
	"regexp"
	"runtime"
	"runtime/debug"
	"time"
)

// Development is the version of a program that was built without one.
const Development = "(devel)"

// Info describes a program. Fields that are unknown are empty.
type Info struct {
	Version string `json:"version"`
	// Commit is the revision, all of it if the program was built from a repository, and the first 12
	// digits if it was built from a module.
	Commit string `json:"commit,omitempty"`
	// Date is the time of the commit, in RFC 3339.
	Date string `json:"date,omitempty"`
	// Modified reports that the program was built from a changed work tree.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // GOOS/GOARCH
	// NATS is the version of the embedded NATS server.
	NATS string `json:"nats_server,omitempty"`
}

// natsModule is the module of the embedded server.
const natsModule = "github.com/nats-io/nats-server/v2"

// Read returns the description of the running program.
func Read() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = new(debug.BuildInfo)
	}
	return from(build)
}

// pseudo is the end of a pseudo-version, such as v0.1.1-0.20260131093000-0123456789ab: the time and
// the revision of a commit without a tag.
var pseudo = regexp.MustCompile(`[-.](\d{14})-([0-9a-f]{12})(?:\+\w+)*$`)

func from(build *debug.BuildInfo) Info {
	i := Info{Version: build.Main.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if i.Version == "" {
		i.Version = Development
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.time":
			i.Date = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	// "go install MODULE@COMMIT" stamps the version alone.
	if found := pseudo.FindStringSubmatch(i.Version); found != nil && i.Commit == "" {
		if at, err := time.Parse("20060102150405", found[1]); err == nil {
			i.Commit, i.Date = found[2], at.Format(time.RFC3339)
		}
	}
	for _, m := range build.Deps {
		if m.Path == natsModule {
			if m.Replace != nil {
				m = m.Replace
			}
			i.NATS = m.Version
		}
	}
	return i
}
