package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestManuals checks the manual pages of the references as they are.
func TestManuals(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(repository, "cmd/ttydrain/docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	pages, err := commandManuals(read("cli-reference.md"), time.Unix(0, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	pages["ttydrain.yaml.5"] = configurationManual(read("configuration-reference.md"), time.Unix(0, 0).UTC())
	for name, parts := range map[string][]string{
		"ttydrain.1":             {`ttydrain \- Deliver the output`, ".SH EXIT STATUS", "deadletters"},
		"ttydrain-drains.1":      {`ttydrain-drains \- Show, test`, ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH AVAILABLE COMMANDS"},
		"ttydrain-drains-list.1": {".SH EXAMPLES", ".SH GLOBAL FLAGS", "--output"},
		"ttydrain.yaml.5":        {"authorized_keys", "January 1970"},
	} {
		page := string(pages[name])
		for _, part := range parts {
			if !strings.Contains(page, part) && !strings.Contains(page, strings.ReplaceAll(part, "-", `\-`)) {
				t.Errorf("%s lacks %q", name, part)
			}
		}
	}
	for name, page := range pages {
		if !strings.Contains(string(page), ".TH ") || strings.Contains(string(page), "`"+"``") {
			t.Errorf("%s is no manual page:\n%s", name, page)
		}
	}
}
