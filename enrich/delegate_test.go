package enrich

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// TestGapKey: a gap key is made once, and a file without a delegation is refused.
func TestGapKey(t *testing.T) {
	by := testKey(t)
	path := filepath.Join(t.TempDir(), "gap_key.pem")
	if err := CreateGapKey(path, by); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := CreateGapKey(path, by); err != nil { // as for other keys: the first file stays
		t.Errorf("again: %v", err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(made) {
		t.Error("the file was replaced")
	}
	key, err := ReadGapKey(path)
	if err != nil {
		t.Fatal(err)
	}
	var delegation schema.Delegation
	payload(t, key.delegation, &delegation)
	if delegation.Type != schema.SignedGap || strings.Contains(string(delegation.Key), `"d"`) {
		t.Errorf("%s of %s", delegation.Type, delegation.Key)
	}
	signed, err := key.Sign(schema.SignedGap, schema.GapClaim{Operation: "42"})
	if err != nil {
		t.Fatal(err)
	}
	var claim schema.GapClaim
	if payload(t, signed, &claim); claim.Operation != "42" {
		t.Errorf("%+v", claim)
	}
	bare := filepath.Join(t.TempDir(), "bare.pem")
	private, _, _ := strings.Cut(string(made), "-----BEGIN "+delegationBlock)
	if err := os.WriteFile(bare, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadGapKey(bare); err == nil || !strings.Contains(err.Error(), "keys make") {
		t.Errorf("without a delegation: %v", err)
	}
	if _, err := ReadGapKey(bare + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
