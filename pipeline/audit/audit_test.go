package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// keySet has the public keys of some keys.
func keySet(t testing.TB, keys ...*enrich.Key) *identity.KeySet {
	t.Helper()
	data, err := (&enrich.KeyRing{Active: keys[0]}).JWKS(0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := identity.ParseKeySet(data)
	if err != nil {
		t.Fatal(err)
	}
	return &set
}

// audited are the results of all sessions in a copy, by operation.
func audited(t testing.TB, c *Checker, data []byte) (map[string]Result, replay.Summary) {
	t.Helper()
	results := make(map[string]Result)
	summary, err := replay.Sessions(t.Context(), &replay.Files{Names: []string{"-"}, Stdin: bytes.NewReader(data)}, replay.Selection{}, func(s *replay.Session) error {
		results[s.Operation.ID] = c.Check(s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return results, summary
}

// told are the findings of all sessions in one line: "42 changed 5, 43 missing 7-9".
func told(results map[string]Result, damage bool) string {
	var all []string
	for _, id := range sortedKeys(results) {
		for _, f := range results[id].Findings {
			if damage && !f.Kind.Damage() {
				continue
			}
			at := fmt.Sprint(f.First)
			if f.Last != f.First {
				at += fmt.Sprintf("-%d", f.Last)
			}
			all = append(all, fmt.Sprintf("%s %s %s", id, f.Kind, at))
		}
	}
	return strings.Join(all, ", ")
}

func sortedKeys(results map[string]Result) []string {
	var ids []string
	for id := range results {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// TestUndamaged: of copies that are as they were delivered, in any order and with repeats, nothing is reported.
func TestUndamaged(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	for _, f := range replaytest.Forms() {
		var units [][]byte
		for _, id := range []string{"41", "42"} {
			s := replaytest.NewSession(t, key, id, replaytest.Options{Pieces: 60})
			units = append(units, f.Write(t, s.Entries())...)
		}
		doubled := append(slices.Clone(units), units...)
		rand.New(rand.NewPCG(3, 4)).Shuffle(len(doubled), func(i, j int) { doubled[i], doubled[j] = doubled[j], doubled[i] })
		for name, copied := range map[string][][]byte{"as delivered": units, "shuffled and doubled": doubled} {
			results, summary := audited(t, checker, f.Join(copied))
			if got := told(results, false); got != "" || len(results) != 2 || summary.BrokenCount > 0 {
				t.Errorf("%s, %s: %s; %+v", f.Name, name, got, summary)
			}
			proven := map[bool]string{true: "bytes texts", false: "texts"}[f.Bytes]
			for id, r := range results {
				if r.Verdict != Intact || !r.Complete || !r.Intact || strings.Join(r.Proven, " ") != proven {
					t.Errorf("%s, %s: %s: %+v", f.Name, name, id, r)
				}
			}
		}
	}
}
