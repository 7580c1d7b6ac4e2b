package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestMain(m *testing.M) {
	status := m.Run()
	if releases.dir != "" {
		os.RemoveAll(releases.dir)
	}
	os.Exit(status)
}

// makePackages writes packages of two versions for this machine, with the same binary.
func makePackages(ctx context.Context) (dir string, err error) {
	dir, err = os.MkdirTemp("", "ttydrain-packages-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "ttydrain")
	for _, version := range []string{"1.0.0", "1.1.0"} {
		r, err := newRelease(ctx, repository, version)
		if err != nil {
			return dir, err
		}
		if version == "1.0.0" {
			if err := r.build(ctx, runtime.GOARCH, binary); err != nil {
				return dir, err
			}
		}
		if _, err := r.pack(ctx, runtime.GOARCH, binary, binary, filepath.Join(dir, "work"), dir); err != nil {
			return dir, err
		}
	}
	return dir, nil
}
