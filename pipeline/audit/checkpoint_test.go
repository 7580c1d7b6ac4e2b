package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// TestCheckpoints checks what checkpoints prove of a session that has no end, and that they narrow
// down where a field was changed.
func TestCheckpoints(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	runs := &Checker{Keys: checker.Keys, Runs: func(string) bool { return true }}
	whole := replaytest.NewSession(t, key, "41", replaytest.Options{Pieces: 260, Checkpoint: 80})
	other := replaytest.NewSession(t, key, "43", replaytest.Options{Pieces: 260, Checkpoint: 80})
	var at []int // indexes of checkpoints
	for i := range whole.Records {
		if whole.Records[i].Event == schema.EventCheckpoint {
			at = append(at, i)
		}
	}

	if len(at) < 3 {
		t.Fatalf("checkpoints at %d", at)
	}
	first, second, last := at[0]+1, at[1]+1, len(whole.Records) // sequences
	// with returns the session with another record.
	with := func(n int, change func(r *schema.Record)) []sinks.Entry {
		entries := whole.Entries()
		changed := *entries[n-1].Record
		if changed.Detail != nil {
			detail := *changed.Detail
			changed.Detail = &detail
		}
		change(&changed)
		entries[n-1].Record = &changed
		return entries
	}
	signed := func(signature string) func(*schema.Record) {
		return func(r *schema.Record) { r.Detail.Signature = signature }
	}
	later := func(r *schema.Record) { r.Time += 1_000_000 }
	entries := whole.Entries()
	for _, f := range replaytest.Forms() {
		if !slices.Contains([]string{"ndjson", "syslog", "syslog exact"}, f.Name) {
			continue
		}
		proven := "who where when bytes texts order"
		if !f.Bytes {
			proven = "who where when texts order"
		}
		for _, test := range []struct {
			name    string
			checker *Checker
			entries []sinks.Entry
			want    string
			proven  string
			through int
		}{
			{"whole", checker, entries, "", proven, 0},
			{"running", runs, entries[:second+10], fmt.Sprintf("41 running %d", second+11), proven, second},
			{"cut", checker, entries[:second+10], fmt.Sprintf("41 no_end %d", second+11), proven, second},
			{"cut at a checkpoint", checker, entries[:first], fmt.Sprintf("41 no_end %d", first+1), proven, first},
			{"cut before one", checker, entries[:first-1], fmt.Sprintf("41 no_end %d", first), "", 0},
			{"cut, with a later time before the checkpoint", checker, with(20, later)[:second+10], fmt.Sprintf("41 changed 1-%d, 41 no_end %d", first, second+11), "", 0},
			{"a later time before the first", checker, with(20, later), fmt.Sprintf("41 changed 1-%d", first), "", 0},
			{"a later time before the second", checker, with(first+1, later), fmt.Sprintf("41 changed %d-%d", first+1, second), "", 0},
			{"a later time at the end", checker, with(last-1, later), fmt.Sprintf("41 changed %d-%d", at[len(at)-1]+2, last), "", 0},
			{"without a checkpoint", checker, slices.Concat(entries[:first-1], entries[first:]), fmt.Sprintf("41 missing %d", first), "", 0},
			{"not signed", checker, with(first, signed("")), fmt.Sprintf("41 signature %d", first), "", 0},
			{"with the signature of another checkpoint", checker, with(first, signed(whole.Records[at[1]].Detail.Signature)), fmt.Sprintf("41 signature %d", first), "", 0},
			{"with the signature of another session", checker, with(first, signed(other.Records[at[0]].Detail.Signature)), fmt.Sprintf("41 signature %d", first), "", 0},
			{"with the signature of the end", checker, with(first, signed(whole.Records[last-1].Detail.Signature)), fmt.Sprintf("41 signature %d", first), "", 0},
		} {
			results, _ := audited(t, test.checker, f.Join(f.Write(t, test.entries)))
			r := results["41"]
			if got := findings(results, false); got != test.want {
				t.Errorf("%s, %s: found %q, want %q: %+v", f.Name, test.name, got, test.want, r.Findings)
			}
			if got := strings.Join(r.Proven, " "); got != test.proven || r.ProvenThrough != uint64(test.through) {
				t.Errorf("%s, %s: proven is %q to %d, want %q to %d", f.Name, test.name, got, r.ProvenThrough, test.proven, test.through)
			}
		}
	}
	texts := rendered(whole.Operation, whole.Operation, replayed(t, whole))
	for i := range whole.Records {
		if i >= len(texts) || !bytes.Equal(texts[i], whole.Records[i].Text) {
			t.Fatalf("%d of %d texts are rendered, until another one", i, len(whole.Records))
		}
	}
}

// replayed returns the records of a session as a copy has them.
func replayed(t *testing.T, s *replaytest.Session) (records []*replay.Record) {
	t.Helper()
	f := replaytest.Forms()[0]
	files := &replay.Files{Names: []string{"-"}, Stdin: bytes.NewReader(f.Join(f.Write(t, s.Entries())))}
	_, err := replay.Sessions(t.Context(), files, replay.Selection{}, func(s *replay.Session) error { records = s.Records; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return records
}
