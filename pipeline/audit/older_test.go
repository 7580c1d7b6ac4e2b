package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/identity"
)

// TestOlderCopies checks that the copies of a version without signed starts keep what they promise,
// and no more. That version wrote the files, which never change: session 42 is whole, 43 lost bytes
// before it was recorded, and 44 lacks records that its drain did not get.
func TestOlderCopies(t *testing.T) {
	folder := filepath.Join("testdata", "v1")
	keys := readKeys(t, filepath.Join(folder, "jwks.json"))
	files, err := os.ReadDir(folder)
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		if file.Name() == "jwks.json" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		proven := "bytes texts order"
		if file.Name() == "copy.syslog" {
			proven = "texts order"
		}
		results, summary := audited(t, &Checker{Keys: keys}, data)
		got := fmt.Sprintf("%s: %s, %s, %s: %s", findings(results, false), results["42"].Verdict, results["43"].Verdict, results["44"].Verdict, strings.Join(results["42"].Proven, " "))
		end := len(results["44"].Findings)
		if want := "43 gap 6, 44 gap 5-9, 44 unproven 10-17: intact, incomplete, incomplete: " + proven; got != want || len(results) != 3 || summary.BrokenCount > 0 || end != 2 {
			t.Errorf("%s:\n got %s\nwant %s; %+v", file.Name(), got, want, summary)
		}
	}
}

func readKeys(t testing.TB, name string) *identity.KeySet {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set, err := identity.ParseKeySet(data)
	if err != nil {
		t.Fatal(err)
	}
	return &set
}
