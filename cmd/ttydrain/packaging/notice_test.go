package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write NOTICE anew")

const repository = "../../.."

// TestNotice checks that NOTICE, which `ttydrain version --licenses` prints, has the licences of all
// that the binary contains: a new dependency makes it fail. Update it with
//
//	go -C cmd/ttydrain/packaging test -run Notice -update
func TestNotice(t *testing.T) {
	r, err := newRelease(t.Context(), repository, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	components, err := r.components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(components) < 20 {
		t.Errorf("found %d components, expected more: the test looks in the wrong place", len(components))
	}
	own, err := os.ReadFile(filepath.Join(repository, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	want := notice(own, components)
	file := filepath.Join(repository, "cmd/ttydrain/NOTICE")
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s lacks a licence of a dependency, or has one too many: update it with -update", file)
	}
}

func TestIdentify(t *testing.T) {
	if ids := identify([]byte("All rights reserved. You may not use this.")); len(ids) > 0 {
		t.Errorf("an unknown licence is %q", ids)
	}
	if err := new(component).read(map[string]bool{t.TempDir(): true}); err == nil {
		t.Error("a component without a licence was accepted")
	}
}
