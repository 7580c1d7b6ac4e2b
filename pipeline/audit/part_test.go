package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// TestPartsDamaged checks that a missing, altered or added part is damage at its record and nowhere
// else.
func TestPartsDamaged(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	made := replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 40, Long: true})
	for _, exact := range []bool{false, true} {
		messages := replaytest.Messages(t, syslog.Options{Exact: exact, MaxMessageBytes: 2048}, made.Entries())
		done := 0
		for i, m := range messages {
			if !bytes.Contains(m, []byte(` part="2/`)) || !bytes.Contains(m, []byte(" output ")) {
				continue
			}
			done++
			_, after, _ := bytes.Cut(m, []byte(` sequence="`))
			number, _, _ := bytes.Cut(after, []byte(`"`))
			sequence, err := strconv.Atoi(string(number))
			if err != nil {
				t.Fatal(err)
			}
			changed := bytes.Clone(m)
			changed[len(changed)-1]++ // of the text, or "o" for one that is empty
			for _, test := range []struct {
				name     string
				messages [][]byte
				kinds    []Kind
			}{
				{"missing", slices.Delete(slices.Clone(messages), i, i+1), []Kind{Changed}},
				{"changed", slices.Concat(messages[:i], [][]byte{changed}, messages[i+1:]), []Kind{Changed}},
				{"added", append(slices.Clone(messages), changed), []Kind{Added, Changed}},
			} {
				results, _ := audited(t, checker, append(bytes.Join(test.messages, []byte("\n")), '\n'))
				got, r := findings(results, true), results["42"]
				if r.Verdict != Damaged || !slices.ContainsFunc(test.kinds, func(k Kind) bool { return got == fmt.Sprintf("42 %s %d", k, sequence) }) {
					t.Errorf("exact %v, %s, record %d: %s %q", exact, test.name, sequence, r.Verdict, got)
				}
			}
		}
		if done < 3 {
			t.Errorf("only %d records of output are in parts", done)
		}
	}
}
