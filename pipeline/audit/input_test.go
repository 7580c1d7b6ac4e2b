package audit

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// TestInput checks that copies with input records and a transfer are intact in every form, and that
// an altered byte of the input is found even if the text does not contain it, since it is not
// UTF-8: the end has a digest of all input.
func TestInput(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	const hidden, other = "\xff\xfe\xfd", "\xff\xfd\xfe"
	input := []string{"drop table users;\n", hidden, strings.Repeat("insert \u65e5\u672c;\n", 900)}
	s := replaytest.NewSession(t, key, "43", replaytest.Options{Pieces: 5, Input: input})
	var altered int
	for _, f := range append(replaytest.Forms(), replaytest.PartedForms()...) {
		copied := f.Join(f.Write(t, s.Entries()))
		results, _ := audited(t, checker, copied)
		if r := results["43"]; r.Verdict != Intact {
			t.Errorf("%s: %+v", f.Name, r)
		}
		from, to := base64.StdEncoding.EncodeToString([]byte(hidden)), base64.StdEncoding.EncodeToString([]byte(other))
		if !bytes.Contains(copied, []byte(from)) {
			continue
		}
		altered++
		results, _ = audited(t, checker, bytes.ReplaceAll(copied, []byte(from), []byte(to)))
		if r := results["43"]; r.Verdict != Damaged {
			t.Errorf("%s: with other input: %+v", f.Name, r)
		}
	}
	if altered == 0 {
		t.Error("no form has input_base64")
	}
}
