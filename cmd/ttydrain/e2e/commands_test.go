package e2e

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runnable are the code blocks of a page that are marked to be run, in a list or not.
var runnable = regexp.MustCompile("(?ms)^( *)```sh run\n(.*?)^ *```$")

// TestDocumentedCommands runs the commands of pages that are marked "sh run", beside a running
// serve with an ended session, whose copy is in the file that the pages name.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "archive")
	site := newSite(t, withoutRaces, withDrains("{name: archive, type: file, path: "+archive+"}"))
	v := site.serve()
	got := runTo(t, v.openssh(site.key, "web@127.0.0.1", "echo the documented session"))
	operation := operationOf(t, []byte(got.stderr))
	var copied []byte
	await(t, "for the end of the session in the archive", func() bool {
		files, _ := filepath.Glob(filepath.Join(archive, "*.ndjson"))
		for _, f := range files {
			copied, _ = os.ReadFile(f)
		}
		return bytes.Contains(copied, []byte(`"event":"end"`))
	})
	// A file of an earlier day, which is to be compressed, and one of last year, which is to be
	// deleted.
	for name, age := range map[string]time.Duration{"2020-01-02.ndjson": 72 * time.Hour, "2020-01-01.ndjson.gz": 400 * 24 * time.Hour} {
		file := filepath.Join(archive, name)
		site.write(file, "{}\n")
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(copied)
	z.Close()
	site.write(filepath.Join(site.dir, "siem.ndjson.gz"), packed.String())
	_, keys := v.get("/.well-known/jwks.json")
	site.write(filepath.Join(site.dir, "jwks.json"), string(keys))
	bin := t.TempDir()
	if err := os.Symlink(site.program, filepath.Join(bin, "ttydrain")); err != nil {
		t.Fatal(err)
	}

	for page, want := range map[string][]string{
		"auditors.md": {"siem.ndjson.gz", "1 intact, 0 damaged", "ended", "documented session", "documented session"},
		"operate.md":  {"archive"},
		"file.md":     {""},
	} {
		text, err := os.ReadFile("../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := runnable.FindAllStringSubmatch(string(text), -1)
		if len(blocks) != len(want) {
			t.Errorf("%s has %d blocks to run, want %d", page, len(blocks), len(want))
			continue
		}
		for i, block := range blocks {
			script := strings.NewReplacer("/var/lib/ttydrain/archive", archive, " 42 ", " "+operation+" ",
				"-c ttydrain.yaml", "-c ttydrain.yaml --admin "+v.admin).Replace(block[2])
			c := exec.Command("bash", "-euo", "pipefail", "-c", script)
			c.Dir = site.dir
			c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			if r := runTo(t, c); r.status != 0 || !strings.Contains(r.stdout, want[i]) {
				t.Errorf("%s: status %d, want %q of\n%s\n%s%s", page, r.status, want[i], script, r.stdout, r.stderr)
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(archive, "2020-*"))
	if len(left) != 1 || filepath.Base(left[0]) != "2020-01-02.ndjson.gz" {
		t.Errorf("of the old files, the archive has %q", left)
	}
}
