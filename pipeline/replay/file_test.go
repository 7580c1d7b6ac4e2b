package replay

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileSums checks the sizes and digests of files, of which one is damaged before its end.
func TestFileSums(t *testing.T) {
	var packed bytes.Buffer
	for range 3 { // a JSON object that does not end, and 100 KB after it
		packed.WriteString("{\"operation_id\":\"7\",\"sequence\":1,\n" + strings.Repeat("x", 100_000))
	}
	contents := map[string][]byte{
		"plain": []byte("{\"a\":1}\n"), "empty": {}, "long": packed.Bytes(), "damaged.gz": append([]byte("\x1f\x8b\x08\x00"), packed.Bytes()...),
	}
	files := Files{Sum: func(name string, size int64, sum [sha256.Size]byte) {
		data, ok := contents[filepath.Base(name)]
		if !ok || int(size) != len(data) || sum != sha256.Sum256(data) {
			t.Errorf("%s: %d bytes, %x", name, size, sum)
		}
		delete(contents, filepath.Base(name))
	}}
	dir := t.TempDir()
	for name, data := range contents {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		files.Names = append(files.Names, path)
	}
	if err := files.Read(t.Context(), Visitor{Record: func(*Record) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	if len(contents) > 0 {
		t.Errorf("without a sum: %d files", len(contents))
	}
}
