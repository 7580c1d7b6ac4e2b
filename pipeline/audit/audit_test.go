package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// keySet returns the public keys of some keys.
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

// audited returns the results for all sessions in a copy, by operation.
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

// findings returns the findings of all sessions in one line: "42 changed 5, 43 missing 7-9".
func findings(results map[string]Result, damage bool) string {
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

// TestUndamaged checks that copies in any order and with duplicates have no findings.
func TestUndamaged(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	for _, f := range append(replaytest.Forms(), replaytest.PartedForms()...) {
		var units [][]byte
		for _, id := range []string{"41", "42"} {
			s := replaytest.NewSession(t, key, id, replaytest.Options{Pieces: 60, Long: true})
			units = append(units, f.Write(t, s.Entries())...)
		}
		doubled := append(slices.Clone(units), units...)
		rand.New(rand.NewPCG(3, 4)).Shuffle(len(doubled), func(i, j int) { doubled[i], doubled[j] = doubled[j], doubled[i] })
		for name, copied := range map[string][][]byte{"as delivered": units, "shuffled and doubled": doubled} {
			results, summary := audited(t, checker, f.Join(copied))
			if got := findings(results, false); got != "" || len(results) != 2 || summary.BrokenCount > 0 {
				t.Errorf("%s, %s: %s; %+v", f.Name, name, got, summary)
			}
			proven := "who where when bytes texts order"
			if !f.Bytes {
				proven = "who where when texts order"
			}
			if strings.Contains(f.Name, "another header") { // of the server, with a time of its own
				proven = "who where bytes texts order"
			}
			for id, r := range results {
				if r.Verdict != Intact || !r.Complete || !r.Intact || strings.Join(r.Proven, " ") != proven {
					t.Errorf("%s, %s: %s: %+v", f.Name, name, id, r)
				}
			}
		}
	}
}

// TestReportedGaps checks that records reported as missing are not damage, and that there is no
// finding if they were delivered after all.
func TestReportedGaps(t *testing.T) {
	key := replaytest.Key(t)
	whole := replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 20})
	var missed schema.PendingGaps
	for i := 4; i < 9; i++ {
		missed.Add(schema.GapOf(&whole.Records[i]))
	}
	entry := func(sign func(string, any) (string, error), g schema.Gap) []sinks.Entry {
		return []sinks.Entry{replaytest.GapEntry(t, sign, whole.Operation, g)}
	}
	gap := entry(key.Sign, missed.Gaps[0])
	wrong := missed.Gaps[0]
	wrong.First, wrong.Last = 6, 8
	router, strange := gapKey(t, key), gapKey(t, replaytest.Key(t))
	asStart := func(_ string, object any) (string, error) { return router.Sign(schema.SignedStart, object) }
	changed := replaytest.GapEntry(t, router.Sign, whole.Operation, missed.Gaps[0])
	changed.Record.Detail.LastSequence++
	of := func(o replaytest.Options) []sinks.Entry {
		o.Pieces = 20
		return replaytest.NewSession(t, key, "42", o).Entries()
	}
	entries := whole.Entries()
	end := len(entries)
	runs := &Checker{Keys: keySet(t, key), Runs: func(operation string) bool { return operation == "42" }}
	checker := &Checker{Keys: keySet(t, key)}
	forms := replaytest.Forms()
	forms = slices.DeleteFunc(forms, func(f replaytest.Form) bool {
		return !slices.Contains([]string{"ndjson", "syslog", "syslog exact"}, f.Name)
	})
	for _, f := range forms {
		for _, test := range []struct {
			name    string
			checker *Checker
			entries []sinks.Entry
			want    string
			verdict Verdict
		}{
			{"reported", checker, slices.Concat(entries[:4], gap, gap, entries[9:]), fmt.Sprintf("42 gap 5-9, 42 unproven 10-%d", end), Incomplete},
			{"reported by a router with a key of its own", checker, slices.Concat(entries[:4], entry(router.Sign, missed.Gaps[0]), entries[9:]), fmt.Sprintf("42 gap 5-9, 42 unproven 10-%d", end), Incomplete},
			{"reported, but delivered later", checker, slices.Concat(entries[:4], gap, entries[9:], entries[4:9]), "", Intact},
			{"fewer reported", checker, slices.Concat(entries[:4], entry(key.Sign, wrong), entries[9:]), "42 missing 5, 42 gap 6-8, 42 missing 9", Damaged},
			{"not signed", checker, slices.Concat(entries[:4], entry(nil, missed.Gaps[0]), entries[9:]), "42 signature 5, 42 missing 5-9", Damaged},
			{"signed by a stranger", checker, slices.Concat(entries[:4], entry(strange.Sign, missed.Gaps[0]), entries[9:]), "42 signature 5, 42 missing 5-9", Damaged},
			{"signed as something else", checker, slices.Concat(entries[:4], entry(asStart, missed.Gaps[0]), entries[9:]), "42 signature 5, 42 missing 5-9", Damaged},
			{"changed", checker, slices.Concat(entries[:4], []sinks.Entry{changed}, entries[9:]), "42 signature 5, 42 missing 5-9", Damaged},
			{"not recorded", checker, of(replaytest.Options{Gap: true}), fmt.Sprintf("42 gap %d", end), Incomplete},
			{"open", checker, entries[:end-1], fmt.Sprintf("42 no_end %d", end), Damaged},
			{"running", runs, entries[:end-1], fmt.Sprintf("42 running %d", end), Incomplete},
			{"running, and one is missing", runs, slices.Concat(entries[:4], entries[5:end-1]), fmt.Sprintf("42 missing 5, 42 running %d", end), Damaged},
			{"not looked at", &Checker{}, entries, fmt.Sprintf("42 unproven 1-%d", end), Incomplete},
		} {
			results, _ := audited(t, test.checker, f.Join(f.Write(t, test.entries)))
			if got := findings(results, false); got != test.want || results["42"].Verdict != test.verdict {
				t.Errorf("%s, %s: found %q, want %q; %s", f.Name, test.name, got, test.want, results["42"].Verdict)
			}
		}
	}
}

// gapKey creates the gap key of a router.
func gapKey(t testing.TB, by *enrich.Key) *enrich.GapKey {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gap_key.pem")
	if err := enrich.CreateGapKey(path, by); err != nil {
		t.Fatal(err)
	}
	key, err := enrich.ReadGapKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestFindingsQuoteNothing checks that findings never contain session content.
func TestFindingsQuoteNothing(t *testing.T) {
	key := replaytest.Key(t)
	s := replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 40})
	f := replaytest.Forms()[0]
	units := f.Write(t, s.Entries())
	random := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		data := f.Join(units)
		for range 1 + random.IntN(5) {
			data[random.IntN(len(data))] ^= 1 << random.IntN(8)
		}
		results, summary := audited(t, &Checker{Keys: keySet(t, key)}, data)
		out, err := json.Marshal([]any{results, summary})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Operation != "42" { // an altered ID, which is reported
				continue
			}
			for _, f := range r.Findings {
				for _, shown := range []string{"Password", "bin", "run.sh", "VIM", "bash -l"} {
					if strings.Contains(f.What, shown) {
						t.Fatalf("%q is in a finding: %s", shown, out)
					}
				}
			}
		}
	}
}

// TestRendered checks that the original texts are generated from the records' output.
func TestRendered(t *testing.T) {
	key := replaytest.Key(t)
	f := replaytest.Forms()[0]
	marked := false
	for _, session := range []struct {
		id      string
		options replaytest.Options
	}{
		{"41", replaytest.Options{Pieces: 60, Gap: true}}, {"42", replaytest.Options{Pieces: 60, Gap: true}},
		{"43", replaytest.Options{Pieces: 100, Slow: true}}, {"44", replaytest.Options{Pieces: 100, Slow: true}},
	} {
		id := session.id
		made := replaytest.NewSession(t, key, id, session.options)
		_, err := replay.Sessions(t.Context(), &replay.Files{Names: []string{"-"}, Stdin: bytes.NewReader(f.Join(f.Write(t, made.Entries())))}, replay.Selection{}, func(s *replay.Session) error {
			texts := rendered(s.Records[0].Operation, s.Operation, s.Records)
			if len(texts) != len(s.Records) {
				t.Fatalf("%s: %d texts of %d records", id, len(texts), len(s.Records))
			}
			for i, text := range texts {
				marked = marked || session.options.Slow && s.Operation.Interactive && bytes.Contains(text, []byte("⌫⟦$ secret"))
				if !bytes.Equal(text, s.Records[i].Text) {
					t.Errorf("%s: record %d: %q, want %q", id, i+1, text, s.Records[i].Text)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !marked {
		t.Error("no text has the output that was erased after a moment: the test is incomplete")
	}
}
