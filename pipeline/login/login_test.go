package login

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func reopen(t *testing.T, path string) *Contexts {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "contexts.json")
	c := reopen(t, path)
	if c.Find("") != nil || c.At("https://a:1") != nil || len(c.List) != 0 {
		t.Errorf("a missing file has %+v", c)
	}
	a := Context{Name: "a", Address: "https://a:1", CAFile: "/ca.pem", Token: "SECRET-A"}
	b := Context{Name: "b", Address: "https://b:1/", Token: "SECRET-B"}
	for _, one := range []Context{a, b} {
		if err := c.Put(one); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	c = reopen(t, path)
	if got := c.Find(""); got == nil || *got != b {
		t.Errorf("current: %+v", got)
	}
	if got := c.Find("a"); got == nil || *got != a {
		t.Errorf("a: %+v", got)
	}
	if got := c.At("https://b:1"); got == nil || *got != b {
		t.Errorf("at b: %+v", got)
	}
	a.Token = "SECRET-C"
	if err := c.Put(a); err != nil || len(c.List) != 2 || *c.Find("") != a {
		t.Errorf("replaced: %v, %+v", err, c)
	}
	for name, known := range map[string]bool{"b": true, "": false, "c": false} {
		if ok, err := c.Use(name); ok != known || err != nil {
			t.Errorf("use %q: %t, %v", name, ok, err)
		}
	}
	for _, known := range []bool{true, false} {
		if ok, err := c.Remove("b"); ok != known || err != nil {
			t.Errorf("remove b: %t, %v", ok, err)
		}
	}
	if c = reopen(t, path); len(c.List) != 1 || c.Find("") != nil || *c.Find("a") != a {
		t.Errorf("left: %+v", c)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".contexts-*")); left != nil {
		t.Errorf("left: %q", left)
	}
}

// TestOpenRefuses: a file that others may read, or that is damaged, is refused, and its tokens are
// not in the error.
func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.json")
	for _, test := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{`{"contexts": []}`, 0o640, "chmod 600"},
		{`{"contexts": [{"token": "SECRET"`, 0o600, "log in again"},
		{`{"contexts": "SECRET"}`, 0o600, "log in again"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", test.content, err)
		}
	}
}
