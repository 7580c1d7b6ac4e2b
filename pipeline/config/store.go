package config

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
)

// storeSetting matches the setting of the store, at the beginning of a line.
var storeSetting = regexp.MustCompile(`^store:\s+(?:"([^"]*)"|'([^']*)'|([^\s#]+))`)

// StoreOf returns the store that a configuration names, also one that has mistakes or is no YAML,
// as while it is edited; the default if it names none. Variables are not replaced.
func StoreOf(path string) string {
	store := "data"
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if m := storeSetting.FindStringSubmatch(lines.Text()); m != nil {
				store = m[1] + m[2] + m[3]
			}
		}
	}
	return resolvePath(filepath.Dir(path), store)
}

// SocketIn returns the default path of the admin server's socket in a store.
func SocketIn(store string) string { return filepath.Join(store, "admin", "admin.sock") }
